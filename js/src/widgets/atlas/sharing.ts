/** What picked rows have in common. */

import type { Column } from '../../lib/protocol';
import { has, type Bits } from '../../lib/selection';
import { percent, spoken } from '../../lib/tokens';
import { codesOf, numbersOf } from './columns';
import { cut, short } from './words';

const FEW = 6;

/** What picked rows have in common in one column: "83 % are March", "mean 3.2, of all 1.1"; empty where nothing is picked. */
export function shared(column: Column, picked: Bits): string {
  return column.kind === 'label' ? commonest(column, picked) : means(column, picked);
}

function commonest(column: Column, picked: Bits): string {
  const codes = codesOf(column);
  const counts = new Uint32Array(column.levels.length);
  let total = 0;
  for (let row = 0; row < Math.min(codes.length, picked.length * 8); row += 1) {
    if (has(picked, row)) {
      total += 1;
      const code = codes[row] ?? 0;
      if (code < counts.length) {
        counts[code] = (counts[code] ?? 0) + 1;
      }
    }
  }
  const present = [...counts.keys()].filter(level => (counts[level] ?? 0) > 0);
  const best = present.reduce((at, level) => ((counts[level] ?? 0) > (counts[at] ?? 0) ? level : at), present[0] ?? 0);
  const most = counts[best] ?? 0;
  const name = (level: number): string => cut(spoken(column.levels[level] ?? ''), 24);
  if (most === 0) {
    return '';
  }
  if (most === total) {
    return `all are ${name(best)}`;
  }
  // a few labels of which none stands out are said one by one
  const few =
    present.length <= FEW && most < total / 2 && present.reduce((sum, at) => sum + (counts[at] ?? 0), 0) === total;
  return few
    ? `all are ${present.slice(0, -1).map(name).join(', ')} or ${name(present.at(-1) ?? 0)}`
    : `${percent(most / total)} are ${name(best)}`;
}

function means(column: Column, picked: Bits): string {
  const values = numbersOf(column);
  let [sum, known, inside, total] = [0, 0, 0, 0];
  for (let row = 0; row < values.length; row += 1) {
    const value = values[row] ?? NaN;
    if (!Number.isNaN(value)) {
      sum += value;
      known += 1;
      if (has(picked, row)) {
        inside += value;
        total += 1;
      }
    }
  }
  return total === 0 ? '' : `mean ${short(inside / total)}, of all ${short(sum / known)}`;
}
