import { $, $$, throttle } from './dom.js';

const field = $('#q');
const items = $$('#groups li');

function scattered(text, word) {
  const name = text.split(' ', 1)[0];
  let place = -1;
  for (const letter of word) {
    place = name.indexOf(letter, place + 1);
    if (place < 0) return false;
  }
  return true;
}

function filter() {
  const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const item of items) {
    const text = item.dataset.text;
    item.hidden = !words.every((word) => text.includes(word) || scattered(text, word));
    if (!item.hidden) shown += 1;
  }
  for (const group of $$('.group')) {
    const left = $$('li:not([hidden])', group).length;
    group.hidden = left === 0;
    $('.group-count', group).textContent = left;
  }
  $('#count').textContent = `${shown} of ${items.length}`;
  $('#none').hidden = shown > 0 || items.length === 0;
}

if (!new URLSearchParams(location.search).get('q')) { // else the server has filtered already
  field.addEventListener('input', throttle(filter, 50));
  $('#search').addEventListener('submit', (event) => {
    event.preventDefault();
    $('#groups li:not([hidden]) a')?.click();
  });
}
