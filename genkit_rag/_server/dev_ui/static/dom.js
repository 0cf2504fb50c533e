// Small helpers. Text enters the page as text nodes only; nothing here takes HTML but `fragment`, for our own templates.

export const $ = (selector, root = document) => root.querySelector(selector);
export const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

// h('button', {class: 'button', type: 'button', onclick: fn, disabled: true}, 'Run', child)
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'value') element.value = value;
    else element.setAttribute(name, value === true ? '' : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const SVG = 'http://www.w3.org/2000/svg';

export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

// The nodes of a part of a page that the server has rendered (and escaped).
export async function fragment(path) {
  const response = await fetch(path, { headers: { Accept: 'text/html' } });
  const page = new DOMParser().parseFromString(await response.text(), 'text/html');
  if (!response.ok) throw new Error(page.querySelector('h2')?.textContent ?? `HTTP ${response.status}`);
  return [...page.body.childNodes].map((node) => document.importNode(node, true));
}

// Tells a screen reader, politely.
export function announce(text) {
  const live = $('#live');
  if (live) live.textContent = text;
}

export function formatMs(milliseconds) {
  if (milliseconds === null || milliseconds === undefined) return '—';
  if (milliseconds < 10) return `${Number(milliseconds.toFixed(2))} ms`;
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  if (milliseconds < 60000) return `${(milliseconds / 1000).toFixed(2)} s`;
  return `${Math.floor(milliseconds / 60000)} m ${String(Math.round((milliseconds % 60000) / 1000)).padStart(2, '0')} s`;
}

// Times are in UTC in the page; people read their own.
export function localTimes(root = document) {
  for (const element of $$('time[datetime]', root)) {
    const moment = new Date(element.getAttribute('datetime'));
    if (Number.isNaN(moment.getTime())) continue;
    element.textContent = moment.toLocaleString('sv-SE'); // 2026-11-21 09:05:00
    element.title = moment.toISOString();
  }
}

export function throttle(action, milliseconds) {
  let timer = null;
  let last = 0;
  return () => {
    if (timer !== null) return;
    timer = setTimeout(() => { timer = null; last = performance.now(); action(); },
      Math.max(0, milliseconds - (performance.now() - last)));
  };
}

export async function copyText(text, button) {
  await navigator.clipboard.writeText(text);
  announce('Copied');
  if (!button) return;
  const label = button.textContent;
  button.textContent = 'Copied';
  setTimeout(() => { button.textContent = label; }, 1200);
}

// Puts the rows of a freshly rendered list in place of the old ones; rows that did not change stay, focus and all.
export function mergeRows(parent, fresh) {
  const old = new Map([...parent.children].map((row) => [row.dataset.key, row]));
  const rows = [...fresh.children].map((row) => {
    const known = old.get(row.dataset.key);
    if (known && known.dataset.version === row.dataset.version) return known;
    if (!known) row.classList.add('fresh');
    const held = known && known.contains(document.activeElement) ? document.activeElement : null;
    if (known) for (const box of $$('input:checked', known)) $(`input[value="${CSS.escape(box.value)}"]`, row).checked = true;
    if (held?.id) queueMicrotask(() => document.getElementById(held.id)?.focus());
    return row;
  });
  rows.forEach((row, place) => {
    if (parent.children[place] !== row) parent.insertBefore(row, parent.children[place] ?? null);
  });
  while (parent.children.length > rows.length) parent.lastElementChild.remove();
}

// Remembers small things in the browser; a full or forbidden storage costs nothing but the memory.
export function recall(key, otherwise) {
  try { return JSON.parse(localStorage.getItem(key)) ?? otherwise; } catch { return otherwise; }
}

export function remember(key, value) {
  try { localStorage.setItem(key, JSON.stringify(value)); } catch { /* not remembered */ }
}
