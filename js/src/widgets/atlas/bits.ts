/** Picked rows, changed a few at a time. */

import { count, NOTHING, type Bits } from '../../lib/selection';

/** A copy of the picked rows of `n` with some rows more, less, or turned round. */
export function changeBits(bits: Bits, rows: Iterable<number>, how: 'add' | 'remove' | 'toggle', n: number): Bits {
  const changed = new Uint8Array((n + 7) >> 3);
  changed.set(bits.subarray(0, changed.length));
  for (const row of rows) {
    const [byte, bit] = [row >> 3, 1 << (row & 7)];
    const value = changed[byte] ?? 0;
    changed[byte] = how === 'add' ? value | bit : how === 'remove' ? value & ~bit : value ^ bit;
  }
  return changed;
}

/** All rows but the picked ones. */
export function inverted(picked: Bits, n: number): Bits {
  const bits = new Uint8Array((n + 7) >> 3);
  for (let byte = 0; byte < bits.length; byte += 1) {
    bits[byte] = ~(picked[byte] ?? 0);
  }
  if (n % 8 !== 0) {
    bits[bits.length - 1] = (bits[bits.length - 1] ?? 0) & ((1 << (n % 8)) - 1);
  }
  return count(bits) === 0 ? NOTHING : bits;
}

/** Whether the same rows are picked; bits may end early. */
export function sameBits(a: Bits, b: Bits): boolean {
  for (let byte = 0; byte < Math.max(a.length, b.length); byte += 1) {
    if ((a[byte] ?? 0) !== (b[byte] ?? 0)) {
      return false;
    }
  }
  return true;
}
