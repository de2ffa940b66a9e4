// The list of jobs, with its filters and what is selected in it.
import { call } from './api.js';
import { bulk, outcome, verb } from './bulk.js';
import { toast } from './dialogs.js';
import { h } from './dom.js';
import { filterBar } from './filterbar.js';
import { filterOf, isFiltered, listing, PAGE } from './listing.js';
import { button, empty, icon, link, loading, query, short } from './parts.js';
import { may } from './key.js';
import { listOf } from './rows.js';
import { FROM, STATUSES } from './statuses.js';
import { clockTime, inQueues, number } from './words.js';

export function jobs(app) {
  let params = {};
  let progress = null; // draws that of the tag
  let last = ''; // the id that was picked last
  let all = false; // all that match are selected, also those on other pages
  const picked = new Map(); // id -> the job as it was then
  const found = listing(
    () => app.draw(),
    () => /^#\/jobs(\?|$)/.test(location.hash),
  );

  const to = (changes) => link('jobs', { ...params, cursor: '', from: '', ...changes });
  const bar = filterBar(app, to, save);

  function pick(on, chosen) {
    for (const job of chosen) {
      if (on) {
        picked.set(job.job_id, job);
      } else {
        picked.delete(job.job_id);
      }
    }
    all = false;
    const resumes = app.selected && !picked.size;
    app.selected = picked.size;
    app.draw();
    if (resumes) {
      app.refresh();
    } else {
      app.pace();
    }
  }

  // With Shift, all from the last one on.
  function pickOne(event, job) {
    const ids = found.page.jobs.map((each) => each.job_id);
    const [from, at] = [ids.indexOf(last), ids.indexOf(job.job_id)].sort((a, b) => a - b);
    last = job.job_id;
    const isRange = event.shiftKey && from >= 0;
    pick(event.target.checked, isRange ? found.page.jobs.slice(from, at + 1) : [job]);
  }

  async function act(action, id) {
    const filter = filterOf(params);
    const ids = picked.size ? [...picked.keys()] : [id].filter(Boolean);
    if (!ids.length) {
      return;
    }
    const what = all ? nameOfFilter(filter) : nameOfJobs(ids, jobsBy(ids));
    const done = await bulk(action, all ? { filter } : { ids }, what);
    if (!done) {
      return;
    }
    toast(outcome(done));
    found.open(params);
    if (!view.clear()) {
      app.refresh();
    }
  }

  const jobsBy = (ids) =>
    ids.map((id) => picked.get(id) ?? found.page?.jobs.find((job) => job.job_id === id));

  // As many as there are pages for, into a file. Loaded when it is first needed.
  async function save() {
    const { saved } = await import('./saving.js');
    const said = await saved(params, countOf(params.status ?? '').text);
    if (said) {
      toast(said);
    }
  }

  // --- what is drawn

  // How many jobs of a status match, as far as it is known: a number, or the words for it.
  function countOf(name) {
    const { jobs = {}, at_least = [] } = isFiltered(params)
      ? (found.counts ?? {})
      : { jobs: app.stats?.jobs };
    const names = name ? [name] : Object.keys(jobs);
    const n = names.reduce((sum, each) => sum + (jobs[each] ?? 0), 0);
    const isVague = names.some((each) => at_least.includes(each));
    const isKnown = names.length > 0 && names.every((each) => each in jobs);
    return { n, isKnown, isVague, text: isVague ? `more than ${number(n)}` : number(n) };
  }

  function statusChips() {
    const shown = params.status ?? (params.kind ? 'failed' : '');
    const chip = (name) => {
      const { n, isKnown, isVague, text } = countOf(name);
      const count =
        isKnown && h('span.count', { title: text }, `${number(n)}${isVague ? '+' : ''}`);
      const filters = name && name !== 'failed' ? { kind: '', error: '' } : {};
      const isNone = isKnown && !isVague && !n && name && shown !== name;
      return h(
        `a${isNone ? '.none' : ''}`,
        { href: to({ status: name, ...filters }), 'aria-current': shown === name && 'true' },
        name && icon(name),
        name || 'all',
        count,
      );
    };
    return h('nav.chips', { label: 'Status', key: 'chips' }, ['', ...STATUSES].map(chip));
  }

  function list() {
    const { jobs: rows, said } = found.page;
    const next = nextPage() ?? older();
    if (!rows.length) {
      return [looks(), nothing(said, next)];
    }
    const only = params.status ?? (params.kind ? 'failed' : '');
    const isPicked = (job) => picked.has(job.job_id);
    const boxes = { head: boxOfPage, of: boxOf };
    const table = listOf(rows, {
      label: 'Jobs',
      only,
      queue: params.queue,
      boxes,
      chosen: isPicked,
    });
    return [looks(), h('section.panel', { key: 'list' }, table), pages(next)];
  }

  function nothing(said, next) {
    if (found.isUnknown) {
      return unknownType();
    }
    if (found.isLooking()) {
      return null;
    }
    const words = isTimed() && said ? 'A time is asked of jobs that have ended' : said;
    const choose =
      isTimed() && said && 'Choose done, failed or cancelled above, or a kind of error.';
    return empty(
      words ?? 'No jobs here',
      choose && h('p', choose),
      next || h('a', { href: '#/jobs' }, 'Show all'),
    );
  }

  const isTimed = () => Boolean(params.since || params.until);

  // Said at once: nobody need wait for a look at all jobs.
  function unknownType() {
    const { types = [], workers = [] } = app.stats;
    const known = new Set([...types.map(({ type }) => type), ...workers.flatMap((w) => w.types)]);
    const near = [...known].filter((name) => name.includes(params.type)).slice(0, 5);
    const links = near.map((type) => [' ', h('a', { href: to({ type }) }, type)]);
    return empty(
      `No worker knows the type ${params.type}, and no job of it waits`,
      near.length > 0 && h('p', 'Did you mean', links, '?'),
      h(
        'p.actions',
        button('Look at all jobs for it', () => found.lookOn()),
      ),
      older(),
    );
  }

  // How far a look has come that takes several requests.
  function looks() {
    if (!found.isLong || found.isUnknown) {
      return null;
    }
    const { looked, there, next_cursor: more, said } = found.page;
    const far = `looked at ${number(looked)} of ${number(there)}`;
    if (found.isLooking()) {
      const stop = button('Stop', () => found.stop(), 'link', { key: 'stop' });
      const meter = h('progress', { value: looked, max: there, label: 'Looked at' });
      return h('p.looks', { key: 'looks', role: 'status' }, meter, far, ' · ', stop);
    }
    const on = more && found.page.jobs.length < PAGE;
    const go = on ? () => found.lookOn() : () => view.anew();
    const at = clockTime(found.endedAt);
    return h(
      'p.looks',
      { key: 'looks' },
      `${far}, ${at} · `,
      said && `${said} · `,
      button(on ? 'Go on' : 'Look again', go, 'link', { key: 'go' }),
    );
  }

  // Behind the last page the record goes on, where one is kept.
  function older() {
    if (!app.stats?.record || params.error || params.operation) {
      return null;
    }
    const last = found.page.jobs.at(-1);
    const isByEnd = last?.finished_at && !params.tag && (params.status || params.kind);
    const until = isByEnd ? last.finished_at : params.tag && last?.created_at;
    return h(
      'a',
      { href: link('history', { ...params, ...NOT_RECORDED, until: until || params.until }) },
      'Older, in the record',
    );
  }

  function nextPage() {
    const { next_cursor: cursor, jobs: rows } = found.page;
    if (!cursor || !rows.length) {
      return null;
    }
    const from = (+params.from || 0) + rows.length;
    return h('a', { href: to({ cursor, from }), rel: 'next' }, 'Next page');
  }

  // In words, as far as it is known.
  function totalOf(page) {
    const counted = countOf(params.status ?? '');
    return (page?.total ?? null) === null
      ? (counted.isKnown && counted.text) || ''
      : number(page.total);
  }

  function pages(next) {
    const from = +params.from || 0;
    const { jobs: rows } = found.page;
    const known = totalOf(found.page);
    return h(
      'nav.pages',
      { label: 'Pages', key: 'pages' },
      `${number(from + 1)}–${number(from + rows.length)}${known ? ` of ${known}` : ''}`,
      params.cursor && h('a', { href: to({}), rel: 'prev' }, 'First page'),
      next,
    );
  }

  function boxOfPage() {
    const { jobs: rows } = found.page;
    const isAll = rows.every((each) => picked.has(each.job_id));
    return checkbox('Select the page', isAll, (event) => pick(event.target.checked, rows));
  }

  function boxOf(job) {
    const label = `Select ${job.type} ${short(job.job_id)}`;
    return checkbox(label, picked.has(job.job_id), (event) => pickOne(event, job));
  }

  function selection() {
    if (!picked.size) {
      return null;
    }
    const everything = `all ${totalOf(found.page)} that match`;
    function selectAll() {
      all = true;
      app.draw();
    }
    return h(
      'section.selection',
      { label: 'Selection', key: 'selection' },
      h('strong', `${all ? everything : number(picked.size)} selected`),
      hasMore() && button(`Select ${everything}`, selectAll, 'link', { key: 'all' }),
      h('span.actions', { key: 'actions' }, actions(), clearButton()),
    );
  }

  // True when the whole page is selected, and there are others of the same filter.
  function hasMore() {
    const { page } = found;
    const isWholePage = page && !all && picked.size >= page.jobs.length;
    const some = Object.keys(filterOf(params)).length > 0;
    return isWholePage && some && (page.next_cursor || params.cursor);
  }

  function actions() {
    const statuses = selectedStatuses();
    const possible = Object.keys(FROM).filter((action) =>
      FROM[action].some((each) => statuses.includes(each)),
    );
    return possible.map((action) =>
      button(verb(action), () => act(action), action, { key: action }),
    );
  }

  function selectedStatuses() {
    if (!all) {
      return [...picked.values()].map((job) => job.status);
    }
    return params.status ? [params.status] : STATUSES;
  }

  const clearButton = () => button('Clear', () => view.clear(), 'quiet');

  const isKnown = async (type) => {
    const { types = [], workers = [] } = app.stats ?? {};
    if (types.some((each) => each.type === type) || workers.some((w) => w.types.includes(type))) {
      return true;
    }
    const { found: hits } = await call('GET', `/search?${query({ q: type })}`);
    return hits.some((hit) => hit.as === 'type' && hit.source === 'queue');
  };

  const view = {
    act,
    open(next, same) {
      params = next;
      app.selected = same ? picked.size : 0;
      if (same) {
        return;
      }
      picked.clear();
      found.open(next);
      bar.open(next);
      progress = null;
      all = false;
    },
    anew() {
      found.open(params);
      app.refresh();
    },
    // True: there was a selection.
    clear() {
      const some = picked.size > 0;
      picked.clear();
      if (some) {
        pick(false, []);
      }
      return some;
    },
    async poll(signal) {
      const how = { isStill: picked.size > 0, isKnown };
      const [tally] = await Promise.all([tagged(params, signal), found.poll(signal, how)]);
      progress = picked.size ? progress : tally;
    },
    draw() {
      const shown = found.page ? list() : loading();
      return [statusChips(), bar.draw(params), progress?.(to), shown, selection()];
    },
  };
  return view;
}

// What the record cannot be asked for.
const NOT_RECORDED = { cursor: '', from: '', error: '', operation: '' };

// Loaded when it is first needed.
async function tagged(params, signal) {
  return params.tag ? (await import('./tally.js')).tallyOf(params, signal) : null;
}

// --- what a bulk action is about, in words

function nameOfFilter({ status: now, type, queue, tag, kind, error, operation, since, until }) {
  const parts = [
    now ? `${now} jobs` : 'jobs',
    type && `of the type ${type}`,
    kind && `of the kind ${kind}`,
    error && `that say “${error}”`,
    tag && `with the tag ${tag}`,
    operation && `of the action ${operation}`,
    since && `since ${clockTime(since)}`,
    until && `until ${clockTime(until)}`,
    inQueues(queue ? [queue] : []),
  ];
  return parts.filter(Boolean).join(' ');
}

function nameOfJobs(ids, chosen) {
  const names = [...new Set(chosen.filter(Boolean).map((job) => job.queue))].sort();
  const where = names.length ? ` ${inQueues(names)}` : '';
  return ids.length > 1 ? `the selected jobs${where}` : `job ${short(ids[0])}${where}`;
}

// --- cells

function checkbox(label, checked, onclick) {
  const box = h('label', h('input', { type: 'checkbox', label, checked, onclick }));
  return h('td.check', may('admin') && box);
}
