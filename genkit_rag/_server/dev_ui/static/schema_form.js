// A form for a JSON Schema. It edits one JSON value: what the schema cannot say is edited as JSON in its place.
import { h } from './dom.js';
import { branchOf, branches, describe, describesObject, emptyValue, nullable, resolve, titleOf } from './schema.js';

const SHORT = 8; // optional fields up to this number are all shown; of more, those that have a value
let ids = 0;

export class SchemaForm {
  // onChange(value) is called after every change that a person makes.
  constructor(schema, value, onChange) {
    this.root = schema ?? {};
    this.onChange = onChange;
    this.element = h('div', { class: 'sf' });
    this.setValue(value);
  }

  setValue(value) {
    this.value = value;
    this.draw();
  }

  draw() {
    this.fields = new Map();
    const set = (value) => { this.value = value; this.onChange(value); };
    this.element.replaceChildren(this.control('$', this.root, this.value, set, { label: titleOf(resolve(this.root, this.root), 'Input'), top: true }));
  }

  // What is drawn again, because its form has changed; the focus goes to the field that the change was about.
  redraw(focus) {
    this.onChange(this.value);
    this.draw();
    if (focus) this.fieldAt(focus)?.control.focus();
  }

  fieldAt(path) {
    for (let shorter = path; shorter; shorter = shorter.replace(/(\.[^.[]*|\[\d+\])$/, '')) {
      if (this.fields.has(shorter)) return this.fields.get(shorter);
      if (shorter === '$') break;
    }
    return null;
  }

  // problems: [{path: '$.options.k', problem: '...'}]; returns those that have no field here.
  showProblems(problems) {
    const homeless = [];
    let first = true;
    for (const one of problems) {
      const field = this.fieldAt(one.path);
      if (!field) { homeless.push(one); continue; }
      field.control.setAttribute('aria-invalid', 'true');
      field.problem.hidden = false;
      field.problem.textContent = one.problem;
      if (first) field.control.focus();
      first = false;
    }
    return homeless;
  }

  control(path, given, value, set, about) {
    const schema = resolve(given, this.root);
    const options = branches(schema, this.root);
    if (options.length > 1) return this.union(path, schema, options, value, set, about);
    const one = options.length ? { ...resolve(options[0], this.root), description: schema.description ?? options[0].description } : schema;
    if (describesObject(one) && isObject(value ?? {})) return this.object(path, one, value, set, about);
    if (one.type === 'array' && one.items && Array.isArray(value ?? [])) return this.array(path, one, value, set, about);
    return this.scalar(path, one, value, set, { ...about, nullable: nullable(schema) });
  }

  // -- an object: its fields, and a choice of those that are not there

  object(path, schema, value, set, about) {
    const now = isObject(value) ? value : {};
    const names = Object.keys(schema.properties);
    const required = new Set(schema.required ?? []);
    const few = names.length <= SHORT;
    const simple = (name) => !isStructure(schema.properties[name], this.root);
    const shown = names.filter((name) => required.has(name) || name in now || (few && simple(name)));
    const fields = shown.map((name) => this.control(`${path}.${name}`, schema.properties[name], now[name], (changed) => {
      const next = { ...(isObject(this.at(path)) ? this.at(path) : {}) };
      if (changed === undefined) delete next[name]; else next[name] = changed;
      set(next);
    }, { label: name, required: required.has(name), remove: required.has(name) || !(name in now) || (few && simple(name)) ? null : () => {
      const next = { ...this.at(path) };
      delete next[name];
      set(next);
      this.redraw();
    } }));
    const extra = Object.keys(now).filter((name) => !names.includes(name));
    const missing = names.filter((name) => !shown.includes(name));
    const body = [...fields];
    if (extra.length) body.push(h('p', { class: 'help muted' }, `Also in the JSON: ${extra.join(', ')}`));
    if (missing.length) body.push(this.adder(path, schema, missing, set));
    if (!body.length) body.push(h('p', { class: 'muted' }, 'No fields.'));
    if (about.top) return h('div', { class: 'sf' }, body);
    return this.group(path, schema, about, body, 'object');
  }

  adder(path, schema, missing, set) {
    const choose = h('select', { class: 'sf-add', 'aria-label': `Add a field${path === '$' ? '' : ` to ${path.slice(2)}`}`, onchange: () => {
      const name = choose.value;
      const next = { ...(isObject(this.at(path)) ? this.at(path) : {}), [name]: emptyValue(schema.properties[name], this.root) };
      set(next);
      this.redraw(`${path}.${name}`);
    } }, h('option', { value: '' }, 'Add a field…'), missing.map((name) => h('option', { value: name }, name)));
    return choose;
  }

  // -- a list

  array(path, schema, value, set, about) {
    const now = Array.isArray(value) ? value : [];
    const change = (next, focus) => { set(next); this.redraw(focus); };
    const items = now.map((item, place) => this.control(`${path}[${place}]`, schema.items, item, (changed) => {
      const next = [...this.at(path)];
      next[place] = changed ?? null;
      set(next);
    }, { label: `${about.label} ${place + 1}`, required: true, remove: () => change(this.at(path).filter((_, at) => at !== place)) }));
    const add = h('button', { type: 'button', class: 'button small', onclick: () => {
      const next = [...(Array.isArray(this.at(path)) ? this.at(path) : []), emptyValue(schema.items, this.root)];
      change(next, `${path}[${next.length - 1}]`);
    } }, `Add ${about.label === 'Input' ? 'an item' : `to ${about.label}`}`);
    return this.group(path, schema, about, [...items, h('div', {}, add)], `list of ${now.length}`);
  }

  group(path, schema, about, body, type) {
    const id = `sf-${ids += 1}`;
    const remove = about.remove && h('button', { type: 'button', class: 'button small quiet', onclick: about.remove, 'aria-label': `Remove ${about.label}` }, 'Remove');
    const problem = h('p', { class: 'problem', role: 'alert', hidden: true });
    const group = h('fieldset', { class: 'sf-group', 'aria-labelledby': id, tabindex: '-1' },
      h('div', { class: 'sf-head' }, h('span', { class: 'label', id }, about.label, about.required ? h('span', { class: 'required', 'aria-hidden': 'true' }, ' *') : null),
        h('span', { class: 'type' }, type), remove),
      describe(schema) ? h('p', { class: 'help muted' }, describe(schema)) : null, problem, body);
    this.fields.set(path, { control: group, problem });
    return group;
  }

  // -- one of several forms

  union(path, schema, options, value, set, about) {
    const at = value === undefined ? -1 : branchOf(options, value, this.root);
    const chosen = h('select', { 'aria-label': `Form of ${about.label}`, onchange: () => {
      const place = Number(chosen.value);
      set(place < 0 ? undefined : emptyValue(options[place], this.root, true));
      this.redraw(path);
    } });
    if (!about.required || at < 0) chosen.append(h('option', { value: '-1' }, 'not set'));
    chosen.append(...options.map((one, place) => h('option', { value: place }, titleOf(resolve(one, this.root), `Form ${place + 1}`))));
    chosen.value = at;
    const body = [chosen];
    if (at >= 0) body.push(this.control(path, options[at], value, set, { ...about, label: titleOf(resolve(options[at], this.root), about.label), remove: null }));
    return this.group(path, schema, about, body, 'one of several');
  }

  // -- everything else: one control

  scalar(path, schema, value, set, about) {
    const id = `sf-${ids += 1}`;
    const problem = h('p', { class: 'problem', id: `${id}-p`, role: 'alert', hidden: true });
    const settle = (changed) => {
      control.removeAttribute('aria-invalid');
      problem.hidden = true;
      set(changed);
    };
    const wrong = (text) => {
      control.setAttribute('aria-invalid', 'true');
      problem.hidden = false;
      problem.textContent = text;
    };
    const control = makeControl(schema, value, settle, wrong, about);
    control.id = id;
    const help = describe(schema);
    control.setAttribute('aria-describedby', help ? `${id}-h ${id}-p` : `${id}-p`);
    if (about.required) control.setAttribute('aria-required', 'true');
    this.fields.set(path, { control, problem });
    const type = schema.enum || schema.const !== undefined ? '' : [schema.type].flat().filter(Boolean).join(' or ');
    return h('div', { class: 'field' },
      h('div', { class: 'sf-head' }, h('label', { for: id, class: 'label' }, about.label, about.required ? h('span', { class: 'required', 'aria-hidden': 'true' }, ' *') : null),
        h('span', { class: 'type' }, type || (schema.enum ? 'choice' : 'JSON')),
        about.remove && h('button', { type: 'button', class: 'button small quiet', onclick: about.remove, 'aria-label': `Remove ${about.label}` }, 'Remove')),
      control, help ? h('p', { class: 'help', id: `${id}-h` }, help) : null, problem);
  }

  // -- the value by path: closures may be older than the value

  at(path) {
    let value = this.value;
    for (const step of path.matchAll(/\.([^.[]+)|\[(\d+)\]/g)) value = value?.[step[1] ?? Number(step[2])];
    return value;
  }




}

const isObject = (value) => value !== null && typeof value === 'object' && !Array.isArray(value);

function isStructure(given, root) {
  const schema = resolve(given, root);
  const options = branches(schema, root);
  if (options.length > 1) return true;
  const one = options.length ? resolve(options[0], root) : schema;
  return describesObject(one) || one.type === 'array' || (one.type === 'object') || (!one.type && !one.enum && one.const === undefined);
}

function makeControl(schema, value, set, wrong, about) {
  const type = Array.isArray(schema.type) ? schema.type.find((one) => one !== 'null') : schema.type;
  if (schema.const !== undefined) return choice([schema.const], value, set, about);
  if (schema.enum) return choice(schema.enum, value, set, about);
  if (type === 'boolean') return choice([true, false], value, set, about);
  if ((type === 'integer' || type === 'number') && (value === undefined || value === null || typeof value === 'number')) return numeric(type, schema, value, set, wrong);
  if (type === 'string' && (value === undefined || value === null || typeof value === 'string')) return written(schema, value, set, about);
  return free(value, set, wrong);
}

function choice(values, value, set, about) {
  const control = h('select', { onchange: () => set(control.value === '' ? undefined : values[Number(control.value)]) });
  const at = values.findIndex((one) => one === value);
  if (!about.required || at < 0) control.append(h('option', { value: '' }, 'not set'));
  values.forEach((one, place) => control.append(h('option', { value: place }, String(one))));
  control.value = at < 0 ? '' : at;
  return control;
}

function numeric(type, schema, value, set, wrong) {
  const control = h('input', {
    type: 'number', step: type === 'integer' ? 1 : 'any', min: schema.minimum, max: schema.maximum, value: value ?? '',
    placeholder: typeof schema.default === 'number' ? schema.default : null, inputmode: 'decimal', oninput: () => {
      if (control.value === '' && !control.validity.badInput) set(undefined);
      else if (control.validity.badInput) wrong('A number, please.');
      else set(Number(control.value));
    },
  });
  return control;
}

const KINDS = { date: 'date', 'date-time': 'text', email: 'email', uri: 'url' };

function written(schema, value, set, about) {
  const short = KINDS[schema.format] ?? (schema.maxLength <= 80 ? 'text' : null);
  const changed = () => set(control.value === '' && !about.required ? undefined : control.value);
  const shown = { value: value ?? '', placeholder: typeof schema.default === 'string' ? schema.default : null, spellcheck: 'false', oninput: changed };
  const control = short ? h('input', { type: short, ...shown }) : h('textarea', { rows: 1, ...shown });
  return control;
}

function free(value, set, wrong) {
  const control = h('textarea', { class: 'code', rows: 3, spellcheck: 'false', value: value === undefined ? '' : JSON.stringify(value, null, 2), oninput: () => {
    if (control.value.trim() === '') { set(undefined); return; }
    let parsed;
    try { parsed = JSON.parse(control.value); } catch { wrong('This is not JSON yet.'); return; }
    set(parsed);
  } });
  return control;
}
