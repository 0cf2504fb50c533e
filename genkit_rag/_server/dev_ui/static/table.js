// <table data-sortable>: its column heads become buttons. A cell's data-sort (a number or text) goes before its text;
// <th data-no-sort> stays as it is.
import { $$, h } from './dom.js';

const valueOf = (cell) => {
  const text = cell?.dataset.sort ?? cell?.textContent.trim() ?? '';
  const number = Number(text);
  return text !== '' && !Number.isNaN(number) ? number : text.toLowerCase();
};

function compare(a, b) {
  if (typeof a === typeof b) return a < b ? -1 : a > b ? 1 : 0;
  return typeof a === 'number' ? -1 : 1;
}

function sortBy(table, head, column) {
  const down = head.getAttribute('aria-sort') === 'ascending';
  for (const other of head.parentElement.children) other.removeAttribute('aria-sort');
  head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => [valueOf(row.cells[column]), row]);
  rows.sort((a, b) => compare(a[0], b[0]) * (down ? -1 : 1));
  body.append(...rows.map((pair) => pair[1]));
}

export function sortableTables(root = document) {
  for (const table of $$('table[data-sortable]:not([data-sorts])', root)) {
    table.dataset.sorts = 'yes';
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      if (head.hasAttribute('data-no-sort') || !head.textContent.trim()) return;
      const button = h('button', { type: 'button', class: 'sort', onclick: () => sortBy(table, head, column) });
      button.append(...head.childNodes);
      head.append(button);
    });
  }
}
