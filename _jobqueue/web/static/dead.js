// The dead letters, by the kind of their last error.
import { call } from './api.js';
import { bulk } from './bulk.js';
import { toast } from './dialogs.js';
import { h } from './dom.js';
import { breakable, button, empty, jobLink, link, loading, panel, query, table } from './parts.js';
import { inQueues, number, when } from './words.js';

const COLUMNS = ['Kind', '#How many', 'Latest', '#Action'];

export function dead(app) {
  let params = {};
  let kinds = null;

  async function act(action, kind) {
    const filter = { status: 'failed', kind, ...params };
    const where = inQueues(params.queue ? [params.queue] : []);
    const said = await bulk(action, { filter }, `dead letters of the kind ${kind} ${where}`);
    if (said) {
      toast(said);
    }
    app.refresh();
  }

  function actButton(action, text, kind) {
    return button(text, () => act(action, kind), action, { label: `${text} of ${kind}` });
  }

  function row({ kind, count, latest }) {
    const href = link('jobs', { ...params, status: 'failed', kind });
    const job = jobLink(latest.job_id);
    return [
      kind,
      h('a', { href }, h('strong', breakable(kind))),
      number(count),
      [
        h('div.message', breakable(latest.message)),
        h('small', `${latest.type} `, job, ' ', when(latest.at)),
      ],
      h(
        'span.actions',
        actButton('retry', 'Retry all', kind),
        actButton('delete', 'Delete all', kind),
      ),
    ];
  }

  function list() {
    if (!kinds) {
      return loading();
    }
    if (!kinds.length) {
      return empty('No dead letters', h('p', 'Jobs that fail for good come here.'));
    }
    return panel('kinds', '', table('Dead letters by kind of error', COLUMNS, kinds.map(row)));
  }

  return {
    open({ queue }, same) {
      params = queue ? { queue } : {};
      if (!same) {
        kinds = null;
      }
    },
    async poll(signal) {
      const answer = await call('GET', `/dlq/kinds?${query(params)}`, undefined, signal);
      kinds = answer.kinds;
    },
    draw() {
      return [params.queue && ofQueue(params.queue), list()];
    },
  };
}

function ofQueue(queue) {
  const all = h('a', { href: '#/dead' }, 'Show all queues');
  return h('p', `Of the queue ${queue}. `, all);
}
