/** Short lines from picked rows to where their ghosts are. */

import { toRows, type Bits } from '../selection';
import type { Places } from './places';

export class Ties {
  private ends: Float32Array | null = null;
  private key: unknown[] = [];

  /** Both ends of each line, `x, y`, found again only where something has changed; null without a ghost. */
  between(places: Places, ghosts: Float32Array | null, picked: Bits): Float32Array | null {
    if (ghosts === null || picked.length === 0) {
      return null;
    }
    const key = [ghosts, picked, places.version];
    if (this.ends === null || key.some((part, index) => part !== this.key[index])) {
      this.key = key;
      const ends = toRows(picked).map(row => [...places.at(row), ghosts[2 * row] ?? NaN, ghosts[2 * row + 1] ?? NaN]);
      this.ends = new Float32Array(ends.flat());
    }
    return this.ends;
  }
}
