// A workflow as a picture: from left to right, each job behind those that it waits for. Many are folded by type.
import { h, svg } from './dom.js';
import { icon, panel, short } from './parts.js';
import { plural } from './words.js';

const FOLDED_ABOVE = 60; // jobs
const DRAWN = 200; // nodes
const WIDTH = 168;
const HEIGHT = 30;
const GAP_X = 44;
const GAP_Y = 10;
const EDGE = 6; // of the picture
const LETTERS = 16;

// For each job the number of its column: one more than the greatest of those that it waits for.
function levelsOf(jobs) {
  const byId = new Map(jobs.map((each) => [each.job_id, each]));
  const levels = new Map();
  let left = jobs;
  while (left.length) {
    const next = [];
    for (const each of left) {
      const parents = each.after.filter((id) => byId.has(id));
      if (parents.every((id) => levels.has(id))) {
        levels.set(each.job_id, Math.max(-1, ...parents.map((id) => levels.get(id))) + 1);
      } else {
        next.push(each);
      }
    }
    if (next.length === left.length) {
      break;
    }
    left = next;
  }
  return levels;
}

// Nodes: one for each job, or one for those of a column that have the same type and status.
function nodesOf(jobs, levels) {
  const folds = jobs.length > FOLDED_ABOVE;
  const nodes = new Map();
  const nodeOf = new Map();
  for (const each of jobs) {
    const level = levels.get(each.job_id) ?? 0;
    const key = folds ? `${level} ${each.type} ${each.status}` : each.job_id;
    const node = nodes.get(key) ?? { level, status: each.status, jobs: [] };
    node.jobs.push(each);
    nodes.set(key, node);
    nodeOf.set(each.job_id, node);
  }
  return { nodes: [...nodes.values()].slice(0, DRAWN), nodeOf };
}

function place(nodes) {
  const rows = [];
  for (const node of nodes) {
    const row = rows[node.level] ?? 0;
    rows[node.level] = row + 1;
    node.x = EDGE + node.level * (WIDTH + GAP_X);
    node.y = EDGE + row * (HEIGHT + GAP_Y);
  }
  const width = 2 * EDGE + rows.length * (WIDTH + GAP_X) - GAP_X;
  return {
    width,
    height: 2 * EDGE + Math.max(...rows.map((n) => n ?? 0)) * (HEIGHT + GAP_Y) - GAP_Y,
  };
}

function linesOf(nodes, nodeOf) {
  const seen = new Set();
  const lines = [];
  for (const node of nodes) {
    for (const parent of node.jobs.flatMap(({ after }) => after).map((id) => nodeOf.get(id))) {
      const line = parent?.x !== undefined && `${parent.x} ${parent.y} ${node.x} ${node.y}`;
      if (line && !seen.has(line)) {
        seen.add(line);
        const [x, y] = [parent.x + WIDTH, parent.y + HEIGHT / 2];
        const to = node.y + HEIGHT / 2;
        const bend = x + GAP_X / 2;
        const d = `M${x} ${y}C${bend} ${y} ${bend} ${to} ${node.x} ${to}`;
        lines.push(svg('path.edge', { d }));
      }
    }
  }
  return lines;
}

const shortened = (text) => (text.length > LETTERS ? `${text.slice(0, LETTERS - 1)}…` : text);

function drawn({ x, y, status, jobs }, own) {
  const [{ job_id, type, name }] = jobs;
  const many = jobs.length > 1;
  const words = many ? `${jobs.length} × ${type}` : (name ?? type);
  const mark = icon(status);
  for (const [key, value] of Object.entries({ x: 8, y: 7, width: 16, height: 16 })) {
    mark.setAttribute(key, value);
  }
  const isOwn = jobs.some((each) => each.job_id === own);
  const title = many ? `${words}: ${status}` : `${name ?? ''} ${type} ${short(job_id)}: ${status}`;
  return svg(
    `a.node.${status}`,
    {
      href: many ? `#/jobs?type=${encodeURIComponent(type)}&status=${status}` : `#/jobs/${job_id}`,
      transform: `translate(${x} ${y})`,
      'aria-current': isOwn && 'true',
      label: title,
    },
    svg('title', title),
    svg('rect', { width: WIDTH, height: HEIGHT, rx: 6 }),
    mark,
    svg('text', { x: 32, y: 20 }, shortened(words)),
  );
}

// `found` is what GET /jobs/<id>/flow says. Nothing for a job that stands alone.
export function flowPanel(found, own) {
  if (!found || found.jobs.length < 2) {
    return null;
  }
  const { nodes, nodeOf } = nodesOf(found.jobs, levelsOf(found.jobs));
  const size = place(nodes);
  const picture = svg(
    'svg',
    { ...size, viewBox: `0 0 ${size.width} ${size.height}`, role: 'group', label: 'Workflow' },
    linesOf(nodes, nodeOf),
    nodes.map((node) => drawn(node, own)),
  );
  const more = found.truncated && ' and more';
  const said = h('p', plural(found.jobs.length, 'job'), more);
  return panel(
    'flow',
    'Workflow',
    said,
    h('div.flow', { tabindex: 0, role: 'region', label: 'Picture of the workflow' }, picture),
  );
}

// What a job waits for, with links.
export function waitsFor({ after, blocked_by }) {
  const SHOWN = 8;
  const links = after
    .slice(0, SHOWN)
    .map((id, at) => [at > 0 && ', ', h('a', { href: `#/jobs/${id}`, title: id }, short(id))]);
  const more = after.length > SHOWN && ` and ${after.length - SHOWN} more`;
  return [links, more, blocked_by > 0 && ` (${blocked_by} still to end)`];
}
