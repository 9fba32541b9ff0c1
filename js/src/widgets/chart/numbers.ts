/** The numbers behind a chart, as a table that is filled when somebody looks. */

import { html } from '../../lib/elements';
import { visible } from '../../lib/tokens';

export interface Numbers {
  columns: string[];
  rows: string[][];
}

const MOST_ROWS = 200;

/** The first inline data of a specification as a table; null where it holds none. */
export function numbersOf(spec: Readonly<Record<string, unknown>>): Numbers | null {
  const sets = Object.values((spec.datasets ?? {}) as Record<string, unknown>);
  const values = [...inlineData(spec), ...sets].find(
    (data): data is Record<string, unknown>[] => Array.isArray(data) && data.length > 0 && isRecord(data[0])
  );
  if (values === undefined) {
    return null;
  }
  const columns = [...new Set(values.slice(0, MOST_ROWS).flatMap(row => Object.keys(row)))];
  const cell = (value: unknown): string =>
    value === null || value === undefined ? '' : typeof value === 'string' ? value : JSON.stringify(value);
  return { columns, rows: values.slice(0, MOST_ROWS).map(row => columns.map(column => cell(row[column]))) };
}

function* inlineData(part: unknown): Iterable<unknown> {
  if (isRecord(part)) {
    if (isRecord(part.data)) {
      yield part.data.values;
    }
    for (const key of ['layer', 'hconcat', 'vconcat', 'concat', 'spec']) {
      for (const inner of [part[key]].flat()) {
        yield* inlineData(inner);
      }
    }
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A table that opens below the chart; `read` is asked only then. */
export function numbersElement(read: () => Numbers | null, signal: AbortSignal): HTMLDetailsElement {
  const body = html('div', { class: 'nbi-numbers-body', tabindex: 0, role: 'region', 'aria-label': 'The numbers' });
  const details = html('details', { class: 'nbi-numbers' }, html('summary', {}, 'The numbers'), body);
  const fill = (): void => {
    const numbers = details.open ? read() : null;
    if (numbers === null) {
      body.replaceChildren(details.open ? html('p', {}, 'This chart holds no numbers of its own.') : '');
      return;
    }
    const head = html('tr', {}, ...numbers.columns.map(name => html('th', { scope: 'col' }, visible(name))));
    const rows = numbers.rows.map(row => html('tr', {}, ...row.map(cell => html('td', {}, visible(cell)))));
    body.replaceChildren(html('table', {}, html('thead', {}, head), html('tbody', {}, ...rows)));
  };
  details.addEventListener('toggle', fill, { signal });
  return details;
}
