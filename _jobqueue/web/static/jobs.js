// The list of jobs, with its filters and what is selected in it.
import { call } from './api.js';
import { bulk, verb } from './bulk.js';
import { toast } from './dialogs.js';
import { h } from './dom.js';
import {
  button,
  empty,
  filters,
  icon,
  jobLink,
  link,
  loading,
  query,
  short,
  status,
} from './parts.js';
import { may } from './role.js';
import { detail, preview } from './rows.js';
import { FROM, STATUSES } from './statuses.js';
import { inQueues, number, when } from './words.js';

const FILTERS = ['status', 'type', 'queue', 'tag', 'kind'];
const COLUMNS = ['Status', 'Job', 'What happens', 'Queue', 'Attempts', 'When'];
const NUMBERS_FROM = 4; // the column from which on numbers stand
const PAGE = 50;
const USUAL_PRIORITY = 5;

export function jobs(app) {
  let params = {};
  let data = null;
  let progress = null; // draws that of the tag
  let last = ''; // the id that was picked last
  let all = false; // all that match are selected, also those on other pages
  const picked = new Map(); // id -> the job as it was then

  const to = (changes) => link('jobs', { ...params, cursor: '', from: '', ...changes });
  const [inputs, fields] = filters(['type', 'queue', 'tag'], (changes) => app.go(to(changes)));

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
    const ids = data.jobs.map((each) => each.job_id);
    const [from, at] = [ids.indexOf(last), ids.indexOf(job.job_id)].sort((a, b) => a - b);
    last = job.job_id;
    const isRange = event.shiftKey && from >= 0;
    pick(event.target.checked, isRange ? data.jobs.slice(from, at + 1) : [job]);
  }

  async function act(action, id) {
    const filter = Object.fromEntries(
      FILTERS.filter((name) => params[name]).map((name) => [name, params[name]]),
    );
    const ids = picked.size ? [...picked.keys()] : [id].filter(Boolean);
    if (!ids.length) {
      return;
    }
    const what = all ? nameOfFilter(filter) : nameOfJobs(ids, jobsBy(ids));
    const said = await bulk(action, all ? { filter } : { ids }, what);
    if (!said) {
      return;
    }
    toast(said);
    if (!view.clear()) {
      app.refresh();
    }
  }

  const jobsBy = (ids) =>
    ids.map((id) => picked.get(id) ?? data.jobs.find((job) => job.job_id === id));

  // --- what is drawn

  function statusChips() {
    const isFiltered = FILTERS.slice(1).some((name) => params[name]);
    const counts = isFiltered ? {} : (app.stats?.jobs ?? {});
    const shown = params.status ?? (params.kind ? 'failed' : '');
    const chip = (name) =>
      h(
        'a',
        { href: to({ status: name, kind: '' }), 'aria-current': shown === name && 'true' },
        name && icon(name),
        name || 'all',
        name in counts && h('span.count', number(counts[name])),
      );
    return h(
      'nav.chips',
      { label: 'Status', key: 'chips' },
      ['', ...STATUSES].map(chip),
      params.kind && h('a.tag', { href: to({ kind: '' }) }, `${params.kind} ×`),
    );
  }

  function list() {
    const next = nextPage() ?? older();
    if (!data.jobs.length) {
      const title = data.said ?? (next ? 'None among those looked at' : 'No jobs here');
      return empty(title, next || h('a', { href: '#/jobs' }, 'Show all'));
    }
    const table = h('table.jobs', { label: 'Jobs' }, head(), h('tbody', data.jobs.map(row)));
    return [h('section.panel', { key: 'list' }, table), pages(next)];
  }

  // Behind the last page the record goes on, where one is kept.
  function older() {
    if (!app.stats?.record) {
      return null;
    }
    const last = data.jobs.at(-1);
    const isByEnd = last?.finished_at && !params.tag && (params.status || params.kind);
    const until = isByEnd ? last.finished_at : params.tag && last?.created_at;
    return h(
      'a',
      { href: link('history', { ...params, cursor: '', from: '', until }) },
      'Older, in the record',
    );
  }

  function nextPage() {
    if (!data.next_cursor) {
      return null;
    }
    const from = +params.from || 0;
    const href = to({ cursor: data.next_cursor, from: from + data.jobs.length });
    return h('a', { href, rel: 'next' }, data.jobs.length ? 'Next page' : 'Look further');
  }

  function pages(next) {
    const from = +params.from || 0;
    const total = data.total === null ? '' : ` of ${number(data.total)}`;
    return h(
      'nav.pages',
      { label: 'Pages', key: 'pages' },
      `${number(from + 1)}–${number(from + data.jobs.length)}${total}`,
      params.cursor && h('a', { href: to({}), rel: 'prev' }, 'First page'),
      next,
    );
  }

  function head() {
    const isAll = data.jobs.every((each) => picked.has(each.job_id));
    const pickPage = (event) => pick(event.target.checked, data.jobs);
    const title = (text, at) => h(at >= NUMBERS_FROM ? 'th.n' : 'th', { scope: 'col' }, text);
    return h('thead', h('tr', checkbox('Select the page', isAll, pickPage), COLUMNS.map(title)));
  }

  function row(job) {
    const isPicked = picked.has(job.job_id);
    const label = `Select ${job.type} ${short(job.job_id)}`;
    return h(
      'tr',
      { key: job.job_id, class: isPicked && 'chosen' },
      checkbox(label, isPicked, (event) => pickOne(event, job)),
      h('td.state', status(job.status)),
      h('td.what', jobLink(job.job_id, job.type), preview(job)),
      h('td.detail', h('div.message', detail(job))),
      h(
        'td.queue',
        job.queue,
        job.priority !== USUAL_PRIORITY && h('small', ` priority ${job.priority}`),
      ),
      h('td.n.tries', `${job.attempts}/${job.max_attempts}`),
      h('td.n.age', when(job.finished_at ?? job.created_at)),
    );
  }

  function selection() {
    if (!picked.size) {
      return null;
    }
    const everything = `all ${data?.total ? number(data.total) : ''} that match`;
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
    const isWholePage = data && !all && picked.size >= data.jobs.length;
    const isFiltered = FILTERS.some((name) => params[name]);
    return isWholePage && isFiltered && (data.next_cursor || params.cursor);
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

  const view = {
    act,
    open(next, same) {
      params = next;
      app.selected = same ? picked.size : 0;
      if (same) {
        return;
      }
      for (const each of inputs) {
        each.value = params[each.name] ?? '';
      }
      picked.clear();
      data = null;
      progress = null;
      all = false;
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
      const [answer, tally] = await Promise.all([page(params, signal), tagged(params, signal)]);
      if (!picked.size) {
        data = answer;
        progress = tally;
      }
    },
    draw() {
      return [statusChips(), fields, progress?.(to), data ? list() : loading(), selection()];
    },
  };
  return view;
}

async function page(params, signal) {
  const path = `/jobs?${query({ ...params, from: '', limit: PAGE })}`;
  try {
    return await call('GET', path, undefined, signal);
  } catch (error) {
    if (error.status !== 422) {
      throw error;
    }
    return { jobs: [], said: error.message };
  }
}

// Loaded when it is first needed.
async function tagged(params, signal) {
  return params.tag ? (await import('./tally.js')).tallyOf(params, signal) : null;
}

// --- what a bulk action is about, in words

function nameOfFilter({ status: now, type, queue, tag, kind }) {
  const parts = [
    now ? `${now} jobs` : 'jobs',
    type && `of the type ${type}`,
    kind && `of the kind ${kind}`,
    tag && `with the tag ${tag}`,
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
