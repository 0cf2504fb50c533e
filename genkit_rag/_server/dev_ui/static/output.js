// What a run gives: streamed text or values, then the result; documents as a table, answers as text.
import { h } from './dom.js';
import { jsonView } from './json_view.js';

const KEPT = 500; // chunks that are shown

const textOf = (parts) => (Array.isArray(parts) ? parts.map((part) => (typeof part?.text === 'string' ? part.text : '')).join('') : '');

export function showError(box, error) {
  const said = h('div', { class: 'notice error', role: 'alert' }, error.message, error.hint ? ` ${error.hint}` : '');
  const stack = error.details?.stack;
  box.replaceChildren(...[said, stack ? h('details', {}, h('summary', {}, 'Stack'), h('pre', { class: 'text', tabindex: '0' }, stack)) : null].filter(Boolean));
}

export function documentTable(documents) {
  const rows = documents.map((one, place) => h('tr', {},
    h('td', { class: 'num' }, String(place + 1)),
    h('td', { class: 'num' }, typeof one.metadata?.score === 'number' ? one.metadata.score.toFixed(4) : '—'),
    h('td', { class: 'mono nowrap' }, String(one.metadata?.id ?? '—')),
    h('td', {}, textOf(one.content).slice(0, 600))));
  const heads = [['num', 'Rank'], ['num', 'Score'], ['', 'Id'], ['', 'Text']].map(([kind, text]) => h('th', { class: kind, scope: 'col' }, text));
  return h('div', { class: 'table-box', tabindex: '0', role: 'group', 'aria-label': 'Documents' }, h('table', { class: 'table' }, h('thead', {}, h('tr', {}, heads)), h('tbody', {}, rows)));
}

export class OutputView {
  constructor(box, kind) {
    this.kind = kind;
    this.box = box;
    this.count = 0;
    this.text = null;
    this.list = null;
    box.replaceChildren(h('p', { class: 'muted' }, 'Running…'));
  }

  begin() {
    if (this.count === 0) this.box.replaceChildren();
    this.count += 1;
  }

  chunk(chunk) {
    this.begin();
    const text = typeof chunk === 'string' ? chunk : textOf(chunk?.content);
    if (text && !this.list) {
      if (!this.text) this.box.append(this.text = h('div', { class: 'streamed' }));
      this.text.append(text);
      return;
    }
    if (!this.list) this.box.append(h('h3', {}, 'Streamed'), this.list = h('ol', { class: 'mono chunks' }));
    if (this.count <= KEPT) this.list.append(h('li', {}, JSON.stringify(chunk)));
    else if (this.count === KEPT + 1) this.list.append(h('li', { class: 'muted' }, 'More is not shown; the result below is whole.'));
  }

  result(value) {
    if (this.count === 0) this.box.replaceChildren();
    const parts = [];
    if (Array.isArray(value?.documents)) parts.push(value.documents.length ? documentTable(value.documents) : h('p', {}, 'No document was found.'));
    const answer = textOf(value?.message?.content);
    if (answer && !this.text) parts.push(h('div', { class: 'streamed' }, answer));
    if (typeof value === 'string') { if (!this.text) parts.push(h('div', { class: 'streamed' }, value)); }
    else parts.push(h('div', {}, h('h3', {}, 'Result'), jsonView(value)));
    this.box.append(...parts);
  }

  fail(error) {
    if (this.count === 0) this.box.replaceChildren();
    const said = h('div');
    showError(said, error);
    this.box.append(said);
  }
}
