// What one configuration found: documents with ranks, scores, movement, highlights; latency; the prompt.
import { getJson, runAction } from './api.js';
import { $, $$, formatMs, h, svg } from './dom.js';

const stops = new Set(document.querySelector('#ask').dataset.stopWords.split(' '));
const WORD = /[\p{L}\p{N}_]+/gu;
const stem = (word) => word.toLowerCase().replace(/(?<=\w{3})(es|s)$/, '');
const CHARACTERS_A_TOKEN = 4; // the rule of thumb that the library's own budget uses
const ASSUMED_BUDGET = 4096;

const declaredWindow = () => Number($('#model').selectedOptions[0]?.dataset.window) || 0;

// The tokens that may be sent: what was typed, else what the model says that it takes, else a guess.
const budgetOf = () => Number($('#budget').value) || declaredWindow() || ASSUMED_BUDGET;

export function showBudget() {
  const window = declaredWindow();
  $('#budget').placeholder = String(window || ASSUMED_BUDGET);
  $('#budget-note').textContent = window ? 'Empty: the model’s context.' : `Empty: ${ASSUMED_BUDGET} is assumed.`;
}

export function problemBox(error) {
  return h('div', { class: 'notice error', role: 'alert' }, h('p', {}, error.message), error.hint && h('p', {}, h('strong', {}, error.hint)));
}

// Text with the query's words marked, and the sentence that has most of them underlined.
export function highlighted(text, query) {
  const wanted = new Set([...query.matchAll(WORD)].map((one) => stem(one[0])).filter((one) => !stops.has(one)));
  const sentences = text.match(/[^.!?\n]+[.!?\n]*|[.!?\n]+/g) ?? [];
  const counts = sentences.map((one) => new Set([...one.matchAll(WORD)].map((word) => stem(word[0])).filter((word) => wanted.has(word))).size);
  const most = Math.max(0, ...counts);
  return sentences.map((sentence, number) => {
    const nodes = [];
    let last = 0;
    for (const word of sentence.matchAll(WORD)) {
      if (!wanted.has(stem(word[0])) || stops.has(word[0].toLowerCase())) continue;
      nodes.push(sentence.slice(last, word.index), h('mark', {}, word[0]));
      last = word.index + word[0].length;
    }
    nodes.push(sentence.slice(last));
    const best = most > 1 && sentences.length > 1 && counts.indexOf(most) === number;
    return best ? h('span', { class: 'best' }, ...nodes) : h('span', {}, ...nodes);
  });
}

const score = (value) => (typeof value === 'number' ? value.toFixed(4) : '—');

function moved(before, now, label) {
  const by = before - now;
  const text = by > 0 ? `↑${by}` : by < 0 ? `↓${-by}` : '=';
  const words = by > 0 ? `up ${by}` : by < 0 ? `down ${-by}` : 'the same place';
  return h('span', { class: `move ${by > 0 ? 'up' : by < 0 ? 'down' : ''}`, title: `${label} #${before + 1}: ${words}` },
    `${label} #${before + 1} `, h('span', { 'aria-hidden': 'true' }, text), h('span', { class: 'hidden-text' }, words));
}

function stacked(parts, whole, label) {
  const bar = svg('svg', { role: 'img', 'aria-label': label, preserveAspectRatio: 'none', viewBox: '0 0 1000 10' });
  let x = 0;
  for (const [name, size] of parts) {
    const width = whole ? Math.min(1000 - x, (size / whole) * 1000) : 0;
    bar.append(svg('rect', { class: `s-${name}`, x, y: 0, width: Math.max(0, width), height: 10 }));
    x += width;
  }
  return bar;
}

const keyed = (name, text) => h('li', {}, h('span', { class: `key s-${name}`, 'aria-hidden': 'true' }), text);

export class Outcome {
  // services: judge(documentId, grade, retriever), context()
  constructor(box, side, services) {
    Object.assign(this, { box, side, services });
  }

  put(...nodes) { this.box.replaceChildren(...nodes); this.box.setAttribute('aria-busy', 'false'); this.failed = false; }
  clear() { this.put(); }
  busy() { this.failed = false; this.box.setAttribute('aria-busy', 'true'); }
  fail(error) { this.put(problemBox(error)); this.failed = true; }

  show(query, grades, other) {
    const { found } = this.side;
    if (!found) { if (!this.failed) this.clear(); return; }
    this.grades = grades;
    this.query = query;
    const names = { a: 'B', b: 'A' };
    const hits = found.documents.map((document, rank) => this.hit(document, rank, other, names[this.side.letter]));
    const below = found.explanation?.below ?? 0;
    this.put(
      h('div', { class: 'card' },
        h('div', { class: 'card-head result-head' }, h('strong', {}, `${hits.length} ${hits.length === 1 ? 'document' : 'documents'}`),
          below > 0 && h('span', { class: 'muted' }, `${below} below the score`), found.explanation && this.method(found.explanation),
          h('a', { class: 'button small', href: `/traces/${found.traceId}` }, 'Trace'),
          h('button', { class: 'button small', type: 'button', onclick: (event) => this.prompt(event.currentTarget) }, 'Prompt')),
        this.latencyBox = h('div', { class: 'latency', 'aria-label': 'Latency', role: 'group' }), this.promptBox = h('div', { class: 'prompt-view', hidden: true }),
        ...hits, hits.length === 0 && h('p', { class: 'card-body muted' }, found.explanation?.notices?.[0] ?? 'Nothing was found.')));
    for (const text of $$('.hit-text', this.box)) $('[data-act=more]', text.parentElement).hidden = text.scrollHeight <= text.clientHeight + 2;
    this.latency(found);
  }

  method({ method, rankings, mode }) {
    if (!method) return h('span', { class: 'badge' }, mode);
    const shares = Object.entries(rankings).map(([name, leg]) => `${name} ${method === 'rrf' ? `× ${leg.share}` : `${Number((leg.share * 100).toFixed(1))} %`}`).join(', ');
    const formula = method === 'rrf' ? 'each ranking adds share / (60 + rank)' : 'each ranking adds its share of the score, scaled to 0…1';
    return h('span', { class: 'badge', title: formula }, `${method}: ${shares}`);
  }

  hit(document, rank, other, name) {
    const { found } = this.side;
    const id = found.ids[rank];
    const metadata = document.metadata ?? {};
    const first = found.retrieved.get(id);
    const text = document.content.map((part) => part.text ?? '').join('');
    const there = other ? other.ids.indexOf(id) : -1;
    const facts = Object.entries(metadata).filter(([key]) => !['id', 'score', 'rank', 'retriever', 'scores'].includes(key))
      .map(([key, value]) => `${key}: ${typeof value === 'object' ? JSON.stringify(value) : value}`).join(' · ');
    return h('article', { class: 'hit', 'data-id': id, 'aria-label': `Rank ${rank + 1}: ${id}` },
      h('div', { class: 'hit-head' },
        h('span', { class: 'hit-rank' }, String(rank + 1)), h('span', { class: 'hit-id' }, id),
        found.reranker && first && moved(first.rank, rank, 'retrieved'),
        other && (there >= 0 ? moved(there, rank, name) : h('span', { class: 'move new' }, `not in ${name}`)),
        h('strong', { class: 'hit-score', title: 'Score; higher is better' }, score(metadata.score))),
      this.legs(first, metadata, found.reranker),
      h('p', { class: 'hit-text' }, ...highlighted(text, this.query)),
      h('div', { class: 'hit-foot' }, h('span', { class: 'muted' }, facts),
        h('button', { class: 'button small quiet', type: 'button', 'data-act': 'more', hidden: true, onclick: (event) => event.currentTarget.closest('.hit').classList.toggle('open') }, 'All'),
        this.mark(id, 1, 'Relevant'), this.mark(id, 0, 'Not')));
  }

  // Each ranking's place and score of the document, and what it added to the fused score.
  legs(first, metadata, reranker) {
    const parts = [];
    if (first?.place) {
      for (const [leg, place] of Object.entries(first.place)) {
        const adds = place.adds === undefined ? '' : ` → ${score(place.points)} adds ${score(place.adds)}`;
        parts.push(h('span', { 'data-leg': leg }, `${leg} #${place.rank + 1} ${score(place.score)}${adds}`));
      }
      if (reranker) parts.push(h('span', {}, `retrieved with ${score(first.score)}`));
    } else for (const [stage, value] of Object.entries(metadata.scores ?? {})) parts.push(h('span', { 'data-leg': stage }, `${stage} ${score(value)}`));
    return parts.length > 0 && h('div', { class: 'legs' }, ...parts);
  }

  mark(id, grade, text) {
    return h('button', {
      class: `button small grade ${grade ? '' : 'no'}`, type: 'button', 'data-grade': grade, 'aria-pressed': String(this.grades[id] === grade),
      'aria-label': `${grade ? 'Relevant' : 'Not relevant'}: ${id}`,
      onclick: async () => {
        try { await this.services.judge(id, grade, this.side.config.retriever); } catch (error) { this.promptBox.hidden = false; this.promptBox.replaceChildren(problemBox(error)); }
      },
    }, text);
  }

  graded(id, grade) {
    for (const hit of $$('.hit', this.box)) {
      if (hit.dataset.id !== id) continue;
      for (const button of $$('.grade', hit)) button.setAttribute('aria-pressed', String(Number(button.dataset.grade) === grade));
    }
  }

  // -- how long it took: the steps that the store tells of, else the spans of the trace

  async latency(found) {
    const box = this.latencyBox;
    const [trace, second] = await Promise.all([spans(found.traceId), found.rerankTrace ? spans(found.rerankTrace) : null]);
    const steps = { ...(found.explains ? found.milliseconds : trace.steps) };
    const parallel = Math.max(steps.vector ?? 0, steps.text ?? 0);
    const known = Object.entries(steps).reduce((sum, [name, ms]) => sum + (name === 'vector' || name === 'text' ? 0 : ms), parallel);
    if (trace.total > known) steps.other = trace.total - known;
    if (second) steps.rerank = second.total;
    const total = (trace.total ?? known) + (second?.total ?? 0);
    const whole = Object.values(steps).reduce((sum, one) => sum + one, 0);
    if (!whole) { box.remove(); return; }
    const note = steps.vector !== undefined && steps.text !== undefined ? ' (vector and text at the same time)' : '';
    box.replaceChildren(stacked(Object.entries(steps), whole, `Latency ${formatMs(total)}`),
      h('ul', {}, h('li', {}, h('strong', { 'data-out': 'total' }, formatMs(total)), note), ...Object.entries(steps).map(([name, ms]) => keyed(name, `${name} ${formatMs(ms)}`))));
  }

  // -- the prompt that would be sent

  async prompt(button) {
    const box = this.promptBox;
    if (!box.hidden) { box.hidden = true; return; }
    button.disabled = true;
    try {
      const model = $('#model').value;
      const input = { ...(model && { model }), messages: [{ role: 'user', content: [{ text: this.query }] }], docs: this.side.found.documents };
      const { result } = await runAction('/util/render', input, { context: this.services.context(), own: true });
      box.replaceChildren(...promptView(result, budgetOf()));
    } catch (error) { box.replaceChildren(problemBox(error)); }
    box.hidden = false;
    button.disabled = false;
  }
}

// A model that takes documents itself gets them beside the messages: they count as well.
function promptView(request, budget) {
  const sizes = { question: 0, context: 0 };
  const blocks = [];
  const count = (text, context) => { sizes[context ? 'context' : 'question'] += Math.ceil(text.length / CHARACTERS_A_TOKEN); };
  for (const message of request.messages) {
    for (const part of message.content) {
      if (part.text === undefined) continue;
      const context = part.metadata?.purpose === 'context';
      count(part.text, context);
      blocks.push(h('div', {}, h('p', { class: 'muted' }, `${message.role}${context ? ' · context' : ''}`), h('pre', { class: 'text', tabindex: 0 }, part.text)));
    }
  }
  const inMessages = sizes.context > 0;
  if (!inMessages) for (const document of request.docs ?? []) count(document.content.map((part) => part.text ?? '').join(''), true);
  const used = sizes.question + sizes.context;
  const over = used > budget;
  return [h('div', { class: 'budget' },
    stacked(Object.entries(sizes), Math.max(budget, used), `${used} of ${budget} tokens`),
    h('ul', { class: 'row' }, h('li', {}, h('strong', { 'data-out': 'tokens' }, `about ${used}`), ` of ${budget} tokens`), keyed('question', `question ${sizes.question}`), keyed('context', `context ${sizes.context}`),
      h('li', { class: `badge ${over ? 'error' : 'ok'}` }, over ? `${used - budget} too many` : `${budget - used} left`))),
  h('p', { class: 'muted' }, `An estimate: ${CHARACTERS_A_TOKEN} characters count as a token. The answer needs room as well.`),
  !inMessages && request.docs?.length && h('p', { class: 'muted' }, `The model takes the ${request.docs.length} documents itself, beside the messages.`), ...blocks].filter(Boolean);
}

// The duration of a run and of the embedders, searches and models in it, as soon as its trace is stored.
async function spans(traceId) {
  for (let attempt = 0; traceId && attempt < 12; attempt += 1) {
    const trace = await getJson(`/api/traces/${traceId}`).catch(() => null);
    const all = Object.values(trace?.spans ?? {});
    const root = all.find((span) => !span.parentSpanId && span.endTime);
    if (root) return { total: root.endTime - root.startTime, steps: stepsOf(all, root) };
    await new Promise((resolve) => { setTimeout(resolve, 80); });
  }
  return { total: undefined, steps: {} };
}

const STEPS = { embedder: 'embed', retriever: 'search', reranker: 'rerank', model: 'model' };

function stepsOf(all, root) {
  const steps = {};
  for (const span of all) {
    const name = STEPS[span.attributes?.['genkit:metadata:subtype']];
    if (span === root || !name || !span.endTime) continue;
    steps[name] = (steps[name] ?? 0) + span.endTime - span.startTime;
  }
  return steps;
}
