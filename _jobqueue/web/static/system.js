// What it runs on and how it is set; the reaper's ticks and the checker's verdicts.
import { askAnew, call } from './api.js';
import { h } from './dom.js';
import { button, facts, loading, panel, status, table } from './parts.js';
import { number, plural, when } from './words.js';

const COLUMNS = ['Queue', 'Reaper ticked', 'Books', 'Checker', '#Action'];
const MIB = 2 ** 20;

export function system(app) {
  let data = null;
  let checking = ''; // the queue that is being checked
  const verdicts = {};

  async function check(queue) {
    checking = queue;
    app.draw();
    try {
      verdicts[queue] = await call('POST', `/queues/${queue}/check`);
    } finally {
      checking = '';
      app.refresh();
    }
  }

  function verdict({ queue, checked_at, problems }) {
    if (checking === queue) {
      return 'checking…';
    }
    if (!checked_at) {
      return 'not checked yet';
    }
    const found = problems
      ? status('failed', plural(problems, 'problem'))
      : status('done', 'all invariants hold');
    return [found, ' ', when(checked_at)];
  }

  function row(each) {
    const { queue, reaper_at, balance } = each;
    const label = `Check ${queue} now`;
    const properties = { disabled: Boolean(checking), label, needs: 'admin' };
    return [
      queue,
      h('strong', queue),
      reaper_at ? when(reaper_at) : 'never',
      balance ? `${number(balance)} missing` : 'balance',
      verdict(each),
      button('Check now', () => check(queue), 'plain', properties),
    ];
  }

  function apiPanel({ version, python, pid, started_at }) {
    function renew() {
      askAnew();
      app.refresh();
    }
    return panel(
      'api',
      'This API',
      facts([
        ['Version', version],
        ['Python', python],
        ['Process', pid],
        ['Started', when(started_at)],
      ]),
      h('p.actions', button('Use another API key', renew)),
    );
  }

  return {
    async poll(signal) {
      data = await call('GET', '/system', undefined, signal);
    },
    draw() {
      if (!data) {
        return loading();
      }
      const { redis, api, config, queues } = data;
      const settings = Object.entries(config).map(([name, value]) => [name, plain(value)]);
      return [
        h('div.two', { key: 'two' }, redisPanel(redis), apiPanel(api)),
        panel(
          'queues',
          'Reaper and checker',
          table('Reaper and checker', COLUMNS, queues.map(row)),
          Object.entries(verdicts).map(sentences),
        ),
        panel('config', 'Configuration in effect', facts(settings, 'list')),
      ];
    },
  };
}

const plain = (value) => String(value ?? '') || '–';
const mebibytes = (bytes) => `${number((bytes ?? 0) / MIB)} MiB`;

function redisPanel(redis) {
  const limit = redis.maxmemory_bytes ? ` of ${mebibytes(redis.maxmemory_bytes)}` : ', no limit';
  return panel(
    'redis',
    'Redis',
    facts([
      ['Version', `${plain(redis.version)}, ${redis.kind}`],
      ['Memory', `${mebibytes(redis.used_memory_bytes)}${limit}`],
      ['When full', plain(redis.maxmemory_policy)],
      ['Append-only file', plain(redis.appendonly)],
      ['Synced', plain(redis.appendfsync)],
    ]),
    redis.warnings.map((text) => h('p.wrong', text)),
  );
}

function sentences([queue, { problems, more }]) {
  const all = more ? [...problems, `and ${number(more)} more`] : problems;
  return all.map((text) => h('p.wrong', `${queue}: ${text}`));
}
