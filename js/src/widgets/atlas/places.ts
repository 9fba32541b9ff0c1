/** Where the rows lie at each site, and half way between two. */

import type { Positions } from '../../lib/protocol';
import { bytesOf } from '../../lib/selection';

export interface Between {
  from: Float32Array;
  to: Float32Array;
  share: number;
}

/** The coordinates of a layout by site, read once. */
export class Places {
  private readonly xy: Float32Array;
  private readonly at = new Map<number, number>();

  constructor(
    readonly positions: Positions,
    private readonly n: number
  ) {
    const bytes = bytesOf(positions.xy);
    // numbers of four bytes must begin at a multiple of four
    const whole = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
    this.xy = new Float32Array(whole.buffer, whole.byteOffset, whole.byteLength >> 2);
    positions.sites.forEach((site, index) => this.at.set(site, index));
  }

  /** The coordinates `[row, 2]` at a site; null where they are not known. */
  of(site: number): Float32Array | null {
    const index = this.at.get(site);
    const size = 2 * this.n;
    return index === undefined || this.xy.length < (index + 1) * size
      ? null
      : this.xy.subarray(index * size, (index + 1) * size);
  }

  /** The two sites that a place lies between, and how far it is; the nearest known one where one of them is not known. */
  between(place: number): Between | null {
    const [low, high] = [Math.floor(place), Math.ceil(place)];
    const [from, to] = [this.of(low), this.of(high)];
    if (from !== null && to !== null) {
      return { from, to, share: place - low };
    }
    const known = [...this.at.keys()].sort((a, b) => Math.abs(a - place) - Math.abs(b - place));
    const nearest = known[0] === undefined ? null : this.of(known[0]);
    return nearest === null ? null : { from: nearest, to: nearest, share: 0 };
  }
}
