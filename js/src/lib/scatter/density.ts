/** The points binned on the processor: how many lie in each cell, of which mean colour, and how many of them are picked. */

import type { Bits } from '../selection';
import type { Map2 } from './camera';

export interface Binned {
  map: Map2;
  width: number;
  height: number;
  /** CSS pixels a cell. */
  cell: number;
  xy: Float32Array;
  /** Grows whenever what is in `xy` changes. */
  version: number;
  paint: Uint8Array;
  picked: Bits;
  fade: boolean;
}

/** Cover of a cell with so many points in it. */
const COVER = Float32Array.from({ length: 256 }, (_, count) => 1 - 0.45 * 0.86 ** Math.min(count, 255)).fill(0, 0, 1);
const FADED = 0.22;

/** Sums over the points in each cell. */
class Sums {
  readonly counts: Uint32Array;
  readonly red: Uint32Array;
  readonly green: Uint32Array;
  readonly blue: Uint32Array;

  constructor(n: number) {
    this.counts = new Uint32Array(n);
    this.red = new Uint32Array(n);
    this.green = new Uint32Array(n);
    this.blue = new Uint32Array(n);
  }

  clear(): void {
    for (const sums of [this.counts, this.red, this.green, this.blue]) {
      sums.fill(0);
    }
  }

  add(cell: number, paint: Uint8Array, row: number): void {
    this.counts[cell] = (this.counts[cell] ?? 0) + 1;
    this.red[cell] = (this.red[cell] ?? 0) + (paint[4 * row] ?? 0);
    this.green[cell] = (this.green[cell] ?? 0) + (paint[4 * row + 1] ?? 0);
    this.blue[cell] = (this.blue[cell] ?? 0) + (paint[4 * row + 2] ?? 0);
  }
}

export class Density {
  private cells = new Int32Array(0);
  private all = new Sums(0);
  private some = new Sums(0);
  private image: ImageData | null = null;
  private key = '';
  private painted: Uint8Array | null = null;

  /** Draw into a canvas, which gets one pixel a cell. */
  draw(canvas: HTMLCanvasElement, scene: Binned): void {
    const context = canvas.getContext('2d');
    const columns = Math.max(1, Math.ceil(scene.width / scene.cell));
    const lines = Math.max(1, Math.ceil(scene.height / scene.cell));
    if (context === null) {
      return;
    }
    if (this.image?.width !== columns || this.image.height !== lines) {
      canvas.width = columns;
      canvas.height = lines;
      this.image = context.createImageData(columns, lines);
      this.all = new Sums(columns * lines);
      this.some = new Sums(columns * lines);
      this.key = '';
    }
    this.bin(scene, columns, lines);
    this.some.clear();
    if (scene.fade) {
      this.binPicked(scene);
    }
    this.mix(scene.fade, this.image.data);
    context.putImageData(this.image, 0, 0);
  }

  /** Put every row into its cell, unless they are there already. */
  private bin(scene: Binned, columns: number, lines: number): void {
    const { map, xy, paint, cell } = scene;
    const key = JSON.stringify([map, scene.version, columns, lines]);
    if (key === this.key && paint === this.painted) {
      return;
    }
    this.key = key;
    this.painted = paint;
    const n = xy.length >> 1;
    if (this.cells.length !== n) {
      this.cells = new Int32Array(n);
    }
    this.all.clear();
    const [sx, ox, sy, oy] = [map.sx / cell, map.ox / cell, map.sy / cell, map.oy / cell];
    for (let row = 0; row < n; row += 1) {
      const x = (xy[2 * row] ?? NaN) * sx + ox;
      const y = (xy[2 * row + 1] ?? NaN) * sy + oy;
      // false where a coordinate is missing
      const at = x >= 0 && y >= 0 && x < columns && y < lines ? (y | 0) * columns + (x | 0) : -1;
      this.cells[row] = at;
      if (at >= 0) {
        this.all.add(at, paint, row);
      }
    }
  }

  private binPicked({ picked, paint }: Binned): void {
    for (let at = 0; at < picked.length; at += 1) {
      for (let byte = picked[at] ?? 0, row = 8 * at; byte !== 0; byte >>= 1, row += 1) {
        const cell = (byte & 1) === 1 ? (this.cells[row] ?? -1) : -1;
        if (cell >= 0) {
          this.some.add(cell, paint, row);
        }
      }
    }
  }

  private mix(fade: boolean, pixels: Uint8ClampedArray): void {
    const { all, some } = this;
    const strength = fade ? FADED : 1;
    for (let cell = 0; cell < all.counts.length; cell += 1) {
      const picked = some.counts[cell] ?? 0;
      const sums = picked > 0 ? some : all;
      const count = picked > 0 ? picked : (all.counts[cell] ?? 0);
      // a cell with something picked shows that alone
      const cover = (picked > 0 ? 1 : strength) * (COVER[Math.min(count, 255)] ?? 1);
      pixels[4 * cell + 3] = 255 * cover;
      if (count > 0) {
        pixels[4 * cell] = (sums.red[cell] ?? 0) / count;
        pixels[4 * cell + 1] = (sums.green[cell] ?? 0) / count;
        pixels[4 * cell + 2] = (sums.blue[cell] ?? 0) / count;
      }
    }
  }
}
