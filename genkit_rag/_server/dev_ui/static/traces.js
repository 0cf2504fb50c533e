// The list of traces: live, its choice of two to compare, and of some to delete.
import { deleteJson, liveEvents } from './api.js';
import { $, $$, announce, fragment, localTimes, mergeRows, throttle } from './dom.js';

const query = new URLSearchParams(location.search);
const later = query.has('continuationToken');
const chosen = () => $$('#list tbody input:checked').map((box) => box.value);

function buttons() {
  const count = chosen().length;
  $('#compare').disabled = count !== 2;
  $('#compare').title = count === 2 ? '' : 'Choose two traces';
  $('#delete').disabled = count === 0;
}

async function refresh() {
  let fresh;
  try {
    fresh = await fragment(`/traces/rows?${query}`);
  } catch (error) {
    announce(error.message);
    return;
  }
  const holder = document.createElement('div');
  holder.append(...fresh);
  const [old, next] = [$('#list tbody'), $('tbody', holder)];
  if (old && next) mergeRows(old, next);
  else $('#list').replaceChildren(...holder.childNodes);
  localTimes($('#list'));
  buttons();
}

const soon = throttle(refresh, 100);

function live(on) {
  const badge = $('#live-state');
  badge.textContent = on ? 'Live' : 'Not live';
  badge.classList.toggle('on', on);
}

if (!later) {
  let before = null;
  liveEvents('/api/live', soon, (on) => {
    live(on);
    if (on && before === false) soon(); // what came while the line was down
    before = on;
  });
}

$('#list').addEventListener('change', buttons);
$('#compare').addEventListener('click', () => {
  const [a, b] = chosen().reverse(); // the older one first
  location.href = `/traces/compare?${new URLSearchParams({ a, b })}`;
});
$('#delete').addEventListener('click', async () => {
  const ids = chosen();
  await Promise.allSettled(ids.map((id) => deleteJson(`/api/traces/${id}`)));
  announce(`${ids.length} deleted`);
  refresh();
});
for (const select of $$('#filters select')) select.addEventListener('change', () => $('#filters').requestSubmit());
$('#filters').addEventListener('submit', () => {
  for (const field of $$('#filters input, #filters select')) field.disabled = field.value === '';
});
buttons();
