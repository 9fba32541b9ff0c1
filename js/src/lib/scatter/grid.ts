/** Points in square cells, so that the nearest one is found without looking at all of them. */

import type { Box } from './camera';
import { boundsOf } from './camera';

export class Grid {
  private readonly box: Box;
  private readonly columns: number;
  private readonly lines: number;
  private readonly cellX: number;
  private readonly cellY: number;
  /** Where each cell's rows begin in `rows`. */
  private readonly starts: Uint32Array;
  private readonly rows: Uint32Array;

  constructor(private readonly xy: Float32Array) {
    const n = xy.length / 2;
    this.box = boundsOf(xy) ?? { x0: 0, x1: 1, y0: 0, y1: 1 };
    const side = Math.max(1, Math.min(1024, Math.round(Math.sqrt(n / 4))));
    this.columns = side;
    this.lines = side;
    this.cellX = (this.box.x1 - this.box.x0) / side || 1;
    this.cellY = (this.box.y1 - this.box.y0) / side || 1;
    const cells = new Int32Array(n);
    this.starts = new Uint32Array(side * side + 1);
    for (let row = 0; row < n; row += 1) {
      const cell = this.cellOf(xy[2 * row] ?? NaN, xy[2 * row + 1] ?? NaN);
      cells[row] = cell;
      if (cell >= 0) {
        this.starts[cell + 1] = (this.starts[cell + 1] ?? 0) + 1;
      }
    }
    for (let cell = 0; cell < side * side; cell += 1) {
      this.starts[cell + 1] = (this.starts[cell + 1] ?? 0) + (this.starts[cell] ?? 0);
    }
    this.rows = new Uint32Array(this.starts[side * side] ?? 0);
    const next = this.starts.slice();
    for (let row = 0; row < n; row += 1) {
      const cell = cells[row] ?? -1;
      if (cell >= 0) {
        const place = next[cell] ?? 0;
        this.rows[place] = row;
        next[cell] = place + 1;
      }
    }
  }

  /** The row nearest to a point, within an ellipse of these half axes; the later one of two at the same place. */
  nearest(x: number, y: number, reachX: number, reachY: number): number | null {
    let best: number | null = null;
    let least = 1;
    this.visit({ x0: x - reachX, x1: x + reachX, y0: y - reachY, y1: y + reachY }, row => {
      const dx = ((this.xy[2 * row] ?? NaN) - x) / reachX;
      const dy = ((this.xy[2 * row + 1] ?? NaN) - y) / reachY;
      const distance = dx * dx + dy * dy;
      // what is drawn later lies on top
      if (distance < least || (distance === least && row > (best ?? -1))) {
        least = distance;
        best = row;
      }
    });
    return best;
  }

  /** Call `found` with every row of the cells that a box touches. */
  private visit(box: Box, found: (row: number) => void): void {
    const across = (value: number): number => Math.floor((value - this.box.x0) / this.cellX);
    const down = (value: number): number => Math.floor((value - this.box.y0) / this.cellY);
    const lastColumn = Math.min(this.columns - 1, across(box.x1));
    const lastLine = Math.min(this.lines - 1, down(box.y1));
    // the points on the far edges of all lie in the last cells
    const firstColumn = Math.min(this.columns - 1, Math.max(0, across(box.x0)));
    for (let line = Math.min(this.lines - 1, Math.max(0, down(box.y0))); line <= lastLine; line += 1) {
      for (let column = firstColumn; column <= lastColumn; column += 1) {
        const cell = line * this.columns + column;
        const end = this.starts[cell + 1] ?? 0;
        for (let at = this.starts[cell] ?? 0; at < end; at += 1) {
          found(this.rows[at] ?? 0);
        }
      }
    }
  }

  private cellOf(x: number, y: number): number {
    if (!(x - x === 0 && y - y === 0)) {
      return -1;
    }
    const column = Math.min(this.columns - 1, Math.floor((x - this.box.x0) / this.cellX));
    const line = Math.min(this.lines - 1, Math.floor((y - this.box.y0) / this.cellY));
    return line * this.columns + column;
  }
}
