/** Where the rows are, also while they are on their way from one place to another. */

import type { Box } from './camera';
import { boundsOf, mixBoxes } from './camera';
import { Grid } from './grid';

export class Places {
  from: Float32Array;
  to: Float32Array;
  t = 1;
  /** Grows with every change. */
  version = 0;

  private mixed: Float32Array | null = null;
  private mixedVersion = -1;
  private grid: Grid | null = null;
  private gridVersion = -1;
  // what was laid out stays as it is: its bounds are found once
  private readonly bounds = new WeakMap<Float32Array, { box: Box | null }>();

  constructor(n: number) {
    this.from = this.to = new Float32Array(2 * n).fill(NaN);
  }

  set(from: Float32Array, to: Float32Array, t: number): void {
    if (from !== this.from || to !== this.to || t !== this.t) {
      [this.from, this.to, this.t] = [from, to, t];
      this.version += 1;
    }
  }

  /** Where the rows are now, `[row, 2]`; read it before the next change. */
  get now(): Float32Array {
    if (this.t === 0 || this.from === this.to) {
      return this.from;
    }
    if (this.t === 1) {
      return this.to;
    }
    if (this.mixed === null || this.mixedVersion !== this.version) {
      const mixed = this.mixed ?? new Float32Array(this.to.length);
      const { from, to, t } = this;
      for (let at = 0; at < mixed.length; at += 1) {
        const start = from[at] ?? NaN;
        mixed[at] = start + ((to[at] ?? NaN) - start) * t;
      }
      this.mixed = mixed;
      this.mixedVersion = this.version;
    }
    return this.mixed;
  }

  /** The box around all rows, mixed as they are; null where no row has a place. */
  get box(): Box | null {
    const [from, to] = [this.boxOf(this.from), this.boxOf(this.to)];
    return from === null || to === null ? (from ?? to) : mixBoxes(from, to, this.t);
  }

  boxOf(xy: Float32Array): Box | null {
    const known = this.bounds.get(xy) ?? { box: boundsOf(xy) };
    this.bounds.set(xy, known);
    return known.box;
  }

  nearest(x: number, y: number, reachX: number, reachY: number): number | null {
    if (this.grid === null || this.gridVersion !== this.version) {
      this.grid = new Grid(this.now);
      this.gridVersion = this.version;
    }
    return this.grid.nearest(x, y, reachX, reachY);
  }

  at(row: number): readonly [x: number, y: number] {
    const { from, to, t } = this;
    const mix = (place: number): number => {
      const start = from[place] ?? NaN;
      return t === 1 ? (to[place] ?? NaN) : t === 0 ? start : start + ((to[place] ?? NaN) - start) * t;
    };
    return [mix(2 * row), mix(2 * row + 1)];
  }
}

/** The next row from a place in a direction of the screen: near, and not too far to the side. */
export function nextRow(
  xy: Float32Array,
  from: number,
  scale: readonly [sx: number, sy: number],
  direction: readonly [dx: number, dy: number]
): number | null {
  const [x0, y0] = [xy[2 * from] ?? NaN, xy[2 * from + 1] ?? NaN];
  let best: number | null = null;
  let least = Infinity;
  for (let row = 0; row < xy.length >> 1; row += 1) {
    const dx = ((xy[2 * row] ?? NaN) - x0) * scale[0];
    const dy = ((xy[2 * row + 1] ?? NaN) - y0) * scale[1];
    const ahead = dx * direction[0] + dy * direction[1];
    const aside = Math.abs(dx * direction[1]) + Math.abs(dy * direction[0]);
    const cost = ahead + 2 * aside;
    if (ahead > 1e-6 && aside <= 2 * ahead && cost < least) {
      least = cost;
      best = row;
    }
  }
  return best;
}
