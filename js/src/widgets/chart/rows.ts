/** The chart's part in a shared selection: which rows its selections hold, and which rows were picked elsewhere. */

import type { View } from 'vega';
import { fromRows, toRows, type Bits } from '../../lib/selection';

/** The parameter that stands for the shared rows; nbinterp/widgets/sharing.py writes it into the specification. */
export const PICKED = 'nbinterp_picked';

type Tuple = Readonly<Record<string, unknown>>;

interface Condition {
  type: string;
  field: string;
}

/** One entry of a selection's store: every field has to hold. */
interface Entry {
  fields?: readonly Condition[];
  values?: readonly unknown[];
  _vgsid_?: number;
}

/** Whether a datum lies in one entry of a selection, as Vega-Lite itself decides it. */
export function inEntry(datum: Tuple, entry: Entry, id: number | undefined): boolean {
  if (entry._vgsid_ !== undefined) {
    return entry._vgsid_ === id;
  }
  return (entry.fields ?? []).every(({ type, field }, index) => {
    const value = numeric(datum[field]);
    const wanted = entry.values?.[index];
    if (!Array.isArray(wanted)) {
      return value === numeric(wanted);
    }
    if (type === 'E') {
      return wanted.map(numeric).includes(value);
    }
    // on an axis that runs upwards a brush says its higher end first
    const [low, high] = wanted.map(Number).sort((one, other) => one - other) as [number, number];
    const at = Number(value);
    const aboveLow = type === 'R-E' || type === 'R-LE' ? at > low : at >= low;
    const belowHigh = type === 'R-RE' || type === 'R-E' ? at < high : at <= high;
    return aboveLow && belowHigh;
  });
}

function numeric(value: unknown): unknown {
  return value instanceof Date ? value.getTime() : value;
}

function rowsOf(view: View, data: readonly string[], field: string): Map<Tuple, number> {
  const rows = new Map<Tuple, number>();
  for (const name of data) {
    for (const tuple of view.data(name) as Tuple[]) {
      const row = tuple[field];
      if (typeof row === 'number') {
        rows.set(tuple, row);
      }
    }
  }
  return rows;
}

/** The rows that a selection of the chart holds; null where it holds nothing. */
export function pickedBy(view: View, name: string, data: readonly string[], field: string): Bits | null {
  const entries = view.data(`${name}_store`) as Entry[];
  if (entries.length === 0) {
    return null;
  }
  const picked = [...rowsOf(view, data, field)]
    .filter(([tuple]) => entries.some(entry => inEntry(tuple, entry, tuple._vgsid_ as number | undefined)))
    .map(([, row]) => row);
  return fromRows(picked);
}

/** Show what was picked elsewhere. */
export function showPicked(view: View, bits: Bits, field: string): void {
  const rows = toRows(bits);
  // one entry with all rows is tested much faster than an entry a row
  const store = rows.length === 0 ? [] : [{ unit: '', fields: [{ type: 'E', field }], values: [rows] }];
  view.data(`${PICKED}_store`, store);
}
