// The list of prompts, narrowed while one types.
import { $, $$ } from './dom.js';

const cards = $$('.prompt-card');

function narrow(text) {
  const wanted = text.trim().toLowerCase();
  for (const card of cards) card.hidden = !card.dataset.text.includes(wanted);
  const left = cards.filter((card) => !card.hidden).length;
  $('#count').textContent = wanted ? `${left} of ${cards.length}` : '';
  $('#none').hidden = left > 0;
}

$('#find')?.addEventListener('input', (event) => narrow(event.target.value));
