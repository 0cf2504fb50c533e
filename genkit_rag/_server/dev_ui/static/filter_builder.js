// Conditions on metadata, in rows and as JSON, in sync. What rows cannot say stays JSON.
import { $, h } from './dom.js';

const OPERATORS = { $eq: '=', $ne: '≠', $gt: '>', $gte: '≥', $lt: '<', $lte: '≤', $in: 'is one of', $nin: 'is none of', $contains: 'contains', $exists: 'is there' };
let lists = 0;

export class FilterBuilder {
  constructor(box, onChange) {
    this.box = box;
    this.onChange = onChange;
    this.text = $('textarea', box);
    this.problem = $('.problem', box);
    this.rows = $('[data-out=conditions]', box);
    this.facets = [];
    this.names = h('datalist', { id: `fields-${(lists += 1)}` });
    box.append(this.names);
    $('[data-act=add]', box).addEventListener('click', () => { this.add('', '$eq', ''); $('input', this.rows.lastElementChild).focus(); });
    this.text.addEventListener('input', () => this.read());
  }

  // What facets know: names of fields, and which values are numbers.
  know(facets) {
    this.facets = facets;
    this.names.replaceChildren(...facets.map((one) => h('option', { value: one.field })));
  }

  get value() {
    const text = this.text.value.trim();
    if (!text) return undefined;
    const found = JSON.parse(text);
    return Object.keys(found).length ? found : undefined;
  }

  set value(filter) {
    this.text.value = filter && Object.keys(filter).length ? JSON.stringify(filter) : '';
    this.read();
  }

  get valid() { return this.problem.hidden; }

  read() {
    let found = {};
    let told = '';
    try {
      found = this.text.value.trim() ? JSON.parse(this.text.value) : {};
      if (found === null || typeof found !== 'object' || Array.isArray(found)) told = 'A filter is a JSON object.';
    } catch (error) { told = error.message; }
    this.problem.textContent = told;
    this.problem.hidden = !told;
    this.text.setAttribute('aria-invalid', String(Boolean(told)));
    if (!told) this.show(found);
    this.onChange();
  }

  show(filter) {
    const conditions = simple(filter);
    this.rows.replaceChildren();
    if (conditions === null) this.rows.append(h('p', { class: 'muted' }, 'This filter has more than conditions joined by “and”: edit it as JSON.'));
    else for (const [field, operator, value] of conditions) this.add(field, operator, shown(value));
    $('[data-act=add]', this.box).disabled = conditions === null;
  }

  add(field, operator, value) {
    const changed = () => this.write();
    this.rows.append(h('div', { class: 'condition' },
      h('input', { 'aria-label': 'Field', list: this.names.id, value: field, oninput: changed }),
      h('select', { 'aria-label': 'Operator', onchange: changed }, ...Object.entries(OPERATORS).map(([name, text]) => h('option', { value: name, selected: name === operator }, text))),
      h('input', { 'aria-label': 'Value', value, oninput: changed }),
      h('button', { class: 'button small quiet', type: 'button', 'aria-label': 'Remove the condition', onclick: (event) => { event.currentTarget.parentElement.remove(); changed(); } }, '×')));
  }

  write() {
    const filter = {};
    for (const row of this.rows.children) {
      const [field, operator, value] = [...row.children].map((one) => one.value);
      if (!field) continue;
      const typed = this.typed(field, operator, value);
      const terms = filter[field] ?? {};
      filter[field] = { ...terms, [operator]: typed };
    }
    for (const [field, terms] of Object.entries(filter)) if (Object.keys(terms).length === 1 && '$eq' in terms && !isObject(terms.$eq)) filter[field] = terms.$eq;
    this.text.value = Object.keys(filter).length ? JSON.stringify(filter) : '';
    this.problem.hidden = true;
    this.text.setAttribute('aria-invalid', 'false');
    this.onChange();
  }

  typed(field, operator, text) {
    if (operator === '$exists') return text !== 'false';
    if (operator === '$in' || operator === '$nin') return text.split(',').map((part) => this.scalar(field, part.trim()));
    return this.scalar(field, text.trim());
  }

  // "2020" is a number where the field holds numbers; quotes say that a text is meant.
  scalar(field, text) {
    const types = this.facets.find((one) => one.field === field)?.types ?? {};
    if (/^".*"$/.test(text)) { try { return JSON.parse(text); } catch { return text; } }
    if (text === 'null' && !types.string) return null;
    if ((text === 'true' || text === 'false') && (types.boolean || !types.string)) return text === 'true';
    if (text !== '' && Number.isFinite(Number(text)) && (types.number || !types.string)) return Number(text);
    return text;
  }
}

const isObject = (value) => value !== null && typeof value === 'object' && !Array.isArray(value);

// [[field, operator, value]], or null for a filter that is more than that.
function simple(filter) {
  const found = [];
  for (const [field, value] of Object.entries(filter)) {
    if (field.startsWith('$')) return null;
    for (const [operator, given] of isObject(value) ? Object.entries(value) : [['$eq', value]]) {
      const list = operator === '$in' || operator === '$nin';
      if (!(operator in OPERATORS) || isObject(given) || Array.isArray(given) !== list) return null;
      if (list && given.some((one) => typeof one === 'string' && one.includes(','))) return null;
      found.push([field, operator, given]);
    }
  }
  return found;
}

function shown(value) {
  if (Array.isArray(value)) return value.map(shown).join(', ');
  if (typeof value !== 'string') return String(value);
  return value !== '' && (Number.isFinite(Number(value)) || ['true', 'false', 'null'].includes(value)) ? JSON.stringify(value) : value;
}
