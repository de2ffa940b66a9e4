"""The handler: one mail of a series. What may be tried again is told from what may not."""

import os
import smtplib
from email.message import EmailMessage

from jobqueue import Fail, Retry, handler

HOST, PORT = os.environ.get("MAIL_HOST", "localhost"), int(os.environ.get("MAIL_PORT", 8025))
GREYLISTED_S = float(os.environ.get("GREYLISTED_S", 300))


@handler("drip.mail", timeout=30, max_attempts=10, backoff=1, max_backoff=3600)
def mail(payload, ctx):
    message = EmailMessage()
    message["Message-ID"] = f"<{ctx.job_id}@example.org>"  # the same in each attempt: mailboxes drop a second copy
    message["From"], message["To"], message["Subject"] = "drip@example.org", payload["to"], payload["mail"]
    message.set_content(f"This is your mail: {payload['mail']}.")
    try:
        # No mail server, one that hangs up, one that refuses the content for now: retried after 1, 2, 4 ... s
        with smtplib.SMTP(HOST, PORT, timeout=10) as server:
            server.send_message(message)
    except smtplib.SMTPRecipientsRefused as refused:
        code, text = refused.recipients[payload["to"]]
        said = f"{payload['to']}: {code} {text.decode(errors='replace')}"
        if code >= 500:
            raise Fail(said) from refused  # no such mailbox: the rest of the series stays blocked
        raise Retry(said, after=GREYLISTED_S) from refused
    return {"to": payload["to"], "mail": payload["mail"]}
