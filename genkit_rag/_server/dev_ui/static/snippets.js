// A call of an action as a program writes it.
import { getJson } from './api.js';

const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;

// A JSON value as a Python literal.
export function python(value, indent = '') {
  const inner = `${indent}    `;
  if (value === null || value === undefined) return 'None';
  if (value === true) return 'True';
  if (value === false) return 'False';
  // JSON's strings are Python's, but for two characters that JSON may hold as they are.
  if (typeof value === 'string') return JSON.stringify(value).replaceAll('\u2028', '\\u2028').replaceAll('\u2029', '\\u2029');
  if (typeof value === 'number') return String(value);
  const [open, close, parts] = Array.isArray(value)
    ? ['[', ']', value.map((one) => python(one, inner))]
    : ['{', '}', Object.entries(value).map(([name, one]) => `${python(name)}: ${python(one, inner)}`)];
  const line = `${open}${parts.join(', ')}${close}`;
  return line.length < 80 && !line.includes('\n') ? line : `${open}\n${parts.map((part) => `${inner}${part},\n`).join('')}${indent}${close}`;
}

export async function snippet(language, { key, kind, name, input, context }) {
  const value = JSON.stringify(input ?? null);
  if (language === 'python') {
    return `action = await ai.registry.get(${python(kind)}, ${python(name)})\nresult = await action.run_json(${python(input)}${context ? `, context=${python(context)}` : ''})\n`;
  }
  if (language === 'cli') {
    return `genkit-rag flow run ${shell(kind === 'flow' ? name : key)} ${shell(value)}${context ? ` --context ${shell(JSON.stringify(context))}` : ''}\n`;
  }
  const { runtime } = await getJson('/ui/runtime');
  const body = JSON.stringify({ key, input: input ?? null, ...(context && { context }) });
  return `curl -sS ${runtime?.url ?? 'http://127.0.0.1:PORT'}/api/runAction \\\n  -H 'Content-Type: application/json' \\\n  -d ${shell(body)}\n`;
}
