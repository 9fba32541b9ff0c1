/** Which rows lie in a polygon or a box. A raster settles almost all of them; near its edge the polygon itself is asked. */

import type { Bits } from '../selection';
import type { Box } from './camera';

const SIDE = 256;
const OUTSIDE = 0;
const INSIDE = 1;
const EDGE = 2;

/** A closed polygon in the units of the points, by the even-odd rule: `x0, y0, x1, y1, …`. */
export class Lasso {
  readonly box: Box;
  private readonly raster = new Uint8Array(SIDE * SIDE);
  /** The polygon's sides that cross each line of the raster. */
  private readonly sides: number[][] = Array.from({ length: SIDE }, () => []);
  private readonly scaleX: number;
  private readonly scaleY: number;

  constructor(private readonly corners: ArrayLike<number>) {
    const box = { x0: Infinity, x1: -Infinity, y0: Infinity, y1: -Infinity };
    for (let at = 0; at + 1 < corners.length; at += 2) {
      box.x0 = Math.min(box.x0, corners[at] ?? NaN);
      box.x1 = Math.max(box.x1, corners[at] ?? NaN);
      box.y0 = Math.min(box.y0, corners[at + 1] ?? NaN);
      box.y1 = Math.max(box.y1, corners[at + 1] ?? NaN);
    }
    this.box = box;
    this.scaleX = SIDE / (box.x1 - box.x0 || 1);
    this.scaleY = SIDE / (box.y1 - box.y0 || 1);
    this.drawEdge();
    this.fill();
  }

  has(x: number, y: number): boolean {
    const { box } = this;
    if (!(x >= box.x0 && x <= box.x1 && y >= box.y0 && y <= box.y1)) {
      return false;
    }
    const line = this.cell((y - box.y0) * this.scaleY);
    const kind = this.raster[line * SIDE + this.cell((x - box.x0) * this.scaleX)];
    return kind === EDGE ? this.crosses(x, y, line) : kind === INSIDE;
  }

  private cell(at: number): number {
    return Math.min(SIDE - 1, Math.max(0, Math.floor(at)));
  }

  /** Mark the cells that the outline runs through, and their neighbours, where rounding might decide. */
  private drawEdge(): void {
    const n = this.corners.length >> 1;
    for (let side = 0; side < n; side += 1) {
      const next = (side + 1) % n;
      const ax = ((this.corners[2 * side] ?? NaN) - this.box.x0) * this.scaleX;
      const ay = ((this.corners[2 * side + 1] ?? NaN) - this.box.y0) * this.scaleY;
      const bx = ((this.corners[2 * next] ?? NaN) - this.box.x0) * this.scaleX;
      const by = ((this.corners[2 * next + 1] ?? NaN) - this.box.y0) * this.scaleY;
      for (let line = this.cell(Math.min(ay, by)); line <= this.cell(Math.max(ay, by)); line += 1) {
        this.sides[line]?.push(side);
      }
      const steps = Math.max(1, Math.ceil(2 * Math.max(Math.abs(bx - ax), Math.abs(by - ay))));
      for (let step = 0; step <= steps; step += 1) {
        const column = this.cell(ax + ((bx - ax) * step) / steps);
        const line = this.cell(ay + ((by - ay) * step) / steps);
        for (let near = Math.max(0, line - 1); near <= Math.min(SIDE - 1, line + 1); near += 1) {
          this.raster.fill(EDGE, near * SIDE + Math.max(0, column - 1), near * SIDE + Math.min(SIDE, column + 2));
        }
      }
    }
  }

  /** Fill line by line: between two edge cells nothing changes. */
  private fill(): void {
    for (let line = 0; line < SIDE; line += 1) {
      const y = this.box.y0 + (line + 0.5) / this.scaleY;
      let known = false;
      let before: number = OUTSIDE;
      for (let column = 0; column < SIDE; column += 1) {
        if (this.raster[line * SIDE + column] === EDGE) {
          known = false;
        } else {
          if (!known) {
            before = this.crosses(this.box.x0 + (column + 0.5) / this.scaleX, y, line) ? INSIDE : OUTSIDE;
            known = true;
          }
          this.raster[line * SIDE + column] = before;
        }
      }
    }
  }

  /** Count the sides to the right of a point: an odd number is inside. */
  private crosses(x: number, y: number, line: number): boolean {
    let inside = false;
    const { corners } = this;
    for (const side of this.sides[line] ?? []) {
      const a = 2 * side;
      const b = a + 2 === corners.length ? 0 : a + 2;
      const [ax, ay, bx, by] = [corners[a] ?? NaN, corners[a + 1] ?? NaN, corners[b] ?? NaN, corners[b + 1] ?? NaN];
      if (ay > y !== by > y && x < ax + ((y - ay) / (by - ay)) * (bx - ax)) {
        inside = !inside;
      }
    }
    return inside;
  }
}

/** The rows with a place inside of a lasso. */
export function within(xy: Float32Array, lasso: Pick<Lasso, 'has' | 'box'>): Bits {
  const n = xy.length >> 1;
  const bits = new Uint8Array((n + 7) >> 3);
  const { x0, x1, y0, y1 } = lasso.box;
  for (let row = 0; row < n; row += 1) {
    const x = xy[2 * row] ?? NaN;
    const y = xy[2 * row + 1] ?? NaN;
    if (x >= x0 && x <= x1 && y >= y0 && y <= y1 && lasso.has(x, y)) {
      bits[row >> 3] = (bits[row >> 3] ?? 0) | (1 << (row & 7));
    }
  }
  return bits;
}

/** The smallest box around the corners of a polygon. */
export function boxOf(corners: ArrayLike<number>): Box {
  const xs = Array.from(corners).filter((_, index) => index % 2 === 0);
  const ys = Array.from(corners).filter((_, index) => index % 2 === 1);
  return { x0: Math.min(...xs), x1: Math.max(...xs), y0: Math.min(...ys), y1: Math.max(...ys) };
}

/** A box as a lasso, its edges included. */
export function boxLasso(box: Box): Pick<Lasso, 'has' | 'box'> {
  return { box, has: () => true };
}

export type Way = 'replace' | 'add' | 'remove';

/** What is picked after `fresh` was added to, taken from, or put in the place of `before`. Nothing is no bytes. */
export function combine(before: Bits, fresh: Bits, way: Way): Bits {
  const result = new Uint8Array(Math.max(way === 'replace' ? 0 : before.length, way === 'remove' ? 0 : fresh.length));
  let any = 0;
  for (let at = 0; at < result.length; at += 1) {
    const [old, now] = [before[at] ?? 0, fresh[at] ?? 0];
    const byte = way === 'replace' ? now : way === 'add' ? old | now : old & ~now;
    result[at] = byte;
    any |= byte;
  }
  return any === 0 ? new Uint8Array(0) : result;
}

export function sameBits(a: Bits, b: Bits): boolean {
  for (let at = 0; at < Math.max(a.length, b.length); at += 1) {
    if ((a[at] ?? 0) !== (b[at] ?? 0)) {
      return false;
    }
  }
  return true;
}
