// What a JSON Schema says: pure functions.

const MAX_REFS = 20;

// The schema behind $ref, and allOf of one or many joined.
export function resolve(schema, root) {
  let found = schema === true || schema === undefined || schema === null ? {} : schema;
  for (let hops = 0; found.$ref && hops < MAX_REFS; hops += 1) {
    const { $ref, ...beside } = found;
    let target = $ref.startsWith('#') ? root : {};
    for (const step of $ref.split('/').slice(1)) target = target?.[step.replaceAll('~1', '/').replaceAll('~0', '~')];
    found = { ...(target ?? {}), ...beside };
  }
  if (Array.isArray(found.allOf)) {
    const { allOf, ...rest } = found;
    for (const part of allOf) {
      const one = resolve(part, root);
      found = { ...one, ...rest, properties: { ...one.properties, ...rest.properties }, required: [...(one.required ?? []), ...(rest.required ?? [])] };
    }
    if (!Object.keys(found.properties ?? {}).length) delete found.properties;
  }
  return found;
}

// The forms that a value may have besides null; empty where there is one only.
export function branches(schema, root) {
  const all = schema.anyOf ?? schema.oneOf ?? [];
  return all.filter((one) => resolve(one, root).type !== 'null');
}

export function nullable(schema) {
  return (schema.anyOf ?? schema.oneOf ?? []).some((one) => one.type === 'null') || [schema.type].flat().includes('null');
}

export function describesObject(schema) {
  return schema.properties !== undefined && Object.keys(schema.properties).length > 0 && (schema.type === undefined || [schema.type].flat().includes('object'));
}

const typeOf = (value) => (value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value);

// Which of the forms a value has: the first that fits, -1 when none does.
export function branchOf(options, value, root) {
  return options.findIndex((option) => fits(resolve(option, root), value, root));
}

function fits(schema, value, root) {
  if (schema.const !== undefined) return schema.const === value;
  if (schema.enum) return schema.enum.includes(value);
  const inner = branches(schema, root);
  if (inner.length) return branchOf(inner, value, root) >= 0;
  const type = typeOf(value);
  const wanted = [schema.type].flat();
  if (schema.type && !wanted.includes(type) && !(type === 'number' && wanted.includes('integer') && Number.isInteger(value))) return false;
  if (type !== 'object' || !schema.properties) return true;
  const missing = (schema.required ?? []).some((name) => !(name in value));
  const clash = Object.entries(schema.properties).some(([name, one]) => {
    const said = resolve(one, root);
    return name in value && (said.const !== undefined || said.enum) && !fits(said, value[name], root);
  });
  const strange = schema.additionalProperties === false && Object.keys(value).some((name) => !(name in schema.properties));
  return !missing && !clash && !strange;
}

// A first value: its default, else the least that has its form. A field that a person adds is never null.
export function emptyValue(given, root, depth = 0) {
  const schema = resolve(given, root);
  if (schema.default !== undefined && schema.default !== null) return structuredClone(schema.default);
  if (schema.const !== undefined) return schema.const;
  if (schema.enum) return schema.enum[0];
  const options = branches(schema, root);
  if (options.length && depth < 8) return emptyValue(options[0], root, Number(depth) + 1);
  const type = [schema.type].flat().find((one) => one !== 'null');
  if (type === 'array') return [];
  if (type === 'object' || schema.properties) {
    const names = (schema.required ?? []).filter((name) => schema.properties?.[name]);
    return Object.fromEntries(depth < 8 ? names.map((name) => [name, emptyValue(schema.properties[name], root, Number(depth) + 1)]) : []);
  }
  return { string: '', integer: schema.minimum ?? 0, number: schema.minimum ?? 0, boolean: false }[type] ?? null;
}

export function titleOf(schema, otherwise) {
  return schema.title ?? (schema.const !== undefined ? String(schema.const) : [schema.type].flat().filter(Boolean).join(' or ')) ?? otherwise;
}

// The first paragraph of the description.
export function describe(schema) {
  const text = (schema.description ?? '').split('\n\n')[0].replaceAll('\n', ' ').trim();
  const bounds = [];
  if (schema.minimum !== undefined) bounds.push(`from ${schema.minimum}`);
  if (schema.maximum !== undefined) bounds.push(`up to ${schema.maximum}`);
  return [text, bounds.join(' ')].filter(Boolean).join(' · ');
}

// What an INVALID_ARGUMENT says about fields; a runtime may say it in words only.
export function problemsOf(error) {
  const given = error.details?.problems;
  if (Array.isArray(given)) return given.filter((one) => typeof one?.path === 'string');
  const found = /does not match its schema: (.*)$/s.exec(error.message);
  if (!found) return [];
  return [...found[1].matchAll(/(\$[^:\s]*): (.*?)(?=; \$|\.? \(and \d+ more\)|\. Correct the value|\.?$)/gs)].map((one) => ({ path: one[1], problem: one[2] }));
}
