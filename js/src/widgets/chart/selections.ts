/** Selections of a Vega-Lite chart as plain values for Python. */

type Json = Record<string, unknown>;

export type Selections = Record<string, unknown>;

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Names of all selection parameters of a specification, of its layers and of its parts. */
export function selectionNames(spec: Json): string[] {
  const names = new Set<string>();
  const visit = (part: unknown): void => {
    if (Array.isArray(part)) {
      part.forEach(visit);
    } else if (isObject(part)) {
      for (const parameter of Array.isArray(part.params) ? part.params : []) {
        if (isObject(parameter) && 'select' in parameter && typeof parameter.name === 'string') {
          names.add(parameter.name);
        }
      }
      ['layer', 'hconcat', 'vconcat', 'concat', 'spec'].forEach(key => visit(part[key]));
    }
  };
  visit(spec);
  return [...names];
}

/**
 * What a selection's signal means: `{field: [lowest, highest]}` of an interval, a list of `{field: value}`,
 * or of row numbers, of points; null where nothing is selected.
 */
export function selectionValue(signal: unknown): unknown {
  if (!isObject(signal)) {
    return null;
  }
  const points = isObject(signal.vlPoint) ? signal.vlPoint.or : signal._vgsid_;
  if (points !== undefined) {
    // Vega keeps row numbers in a set of its own
    const list = Array.isArray(points) ? points : [...(points as Iterable<unknown>)];
    return list.length > 0 ? list : null;
  }
  return Object.keys(signal).length > 0 ? signal : null;
}
