// On every page: the state of the app, the theme, keys, times, tables, JSON.
import { getJson, postJson } from './api.js';
import { $, $$, announce, h, localTimes } from './dom.js';
import { enhanceJson } from './json_view.js';
import { sortableTables } from './table.js';

const EVERY = 3000;

function showRuntime(found) {
  const box = $('#runtime');
  const state = found.runtime ? 'up' : 'down';
  const text = $('#runtime-text');
  const name = found.runtime ? found.runtime.name || 'app' : 'No app connected';
  const more = found.runtime ? [' ', h('span', { class: 'muted' }, `pid ${found.runtime.pid}`)] : [];
  const next = h('span', {}, name, ...more);
  text.hidden = found.others.length > 0;
  if (next.textContent !== text.textContent) text.replaceChildren(...next.childNodes);
  showChoice([found.runtime, ...found.others].filter(Boolean));
  const before = box.dataset.state;
  box.dataset.state = state;
  if (found.runtime) box.title = `${found.runtime.version} at ${found.runtime.url}`;
  // A page that waits for an app shows it once it is there.
  if (before === 'down' && state === 'up' && $('main [data-waits], main .empty .command')) location.reload();
}

// Which of several apps the screens look into; the server remembers it.
function showChoice(apps) {
  const chooser = $('#runtimes');
  chooser.hidden = apps.length < 2;
  const label = (app) => `${app.name || 'app'} · pid ${app.pid}`;
  const shown = [...apps].sort((a, b) => label(a).localeCompare(label(b)));
  const now = JSON.stringify([apps[0]?.id, shown.map((app) => app.id)]);
  if (chooser.dataset.shown === now || document.activeElement === chooser) return;
  chooser.dataset.shown = now;
  chooser.replaceChildren(...shown.map((app) => h('option', { value: app.id, selected: app.id === apps[0].id }, label(app))));
}

$('#runtimes').addEventListener('change', async (event) => {
  try { await postJson('/ui/runtime', { id: event.target.value }); } catch (error) { announce(error.message); }
  location.reload();
});

async function watchRuntime() {
  try {
    if (!document.hidden) showRuntime(await getJson('/ui/runtime'));
  } catch {
    $('#runtime').dataset.state = 'lost';
    $('#runtime-text').textContent = 'Developer server not reachable';
  }
  setTimeout(watchRuntime, EVERY);
}

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
}

$('#theme').addEventListener('click', () => {
  const next = isDark() ? 'light' : 'dark';
  document.documentElement.dataset.theme = next;
  try { localStorage.setItem('theme', next); } catch { /* for this page only */ }
  announce(`${next} theme`);
});

addEventListener('keydown', (event) => {
  const typing = event.target.closest('input, textarea, select, [contenteditable]');
  if (event.key === '/' && !typing && !event.ctrlKey && !event.metaKey) {
    const search = $('main input[type=search]');
    if (search) { event.preventDefault(); search.focus(); search.select(); }
  }
});

// A button that must be pressed twice: <button data-confirm="Delete?">.
document.addEventListener('click', (event) => {
  const button = event.target.closest?.('button[data-confirm]');
  if (!button || button.dataset.armed) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  const label = [...button.childNodes];
  button.dataset.armed = 'yes';
  button.replaceChildren(button.dataset.confirm);
  announce(`${button.dataset.confirm} Press again to confirm.`);
  setTimeout(() => { delete button.dataset.armed; button.replaceChildren(...label); }, 3000);
}, true);

export function enhance(root = document) {
  localTimes(root);
  enhanceJson(root);
  sortableTables(root);
}

enhance();
for (const element of $$('[data-wants-js]')) element.disabled = false;
watchRuntime();
