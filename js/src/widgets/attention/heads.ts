/** All heads in small, layers down, heads to the right: a click enlarges one. */

import type { Cell } from '../../lib/grid/frame';
import { Grid, type GridEvents } from '../../lib/grid/grid';
import { Colours, short } from '../../lib/grid/heat';
import type { Axis } from '../../lib/protocol';
import { isDark, onThemeChange } from '../../lib/theme';
import { heatOf, pictureOf, type AttentionModel } from './moment';

const PICTURE = 44;
const HIGHEST = 470;

export class Heads {
  readonly grid: Grid;

  /** One canvas a head, as long as its colours are right. */
  private readonly drawn = new Map<number, HTMLCanvasElement>();
  private rows: Axis | null = null;
  private columns: Axis | null = null;

  constructor(
    private readonly model: AttentionModel,
    events: Omit<GridEvents, 'describe'>,
    signal: AbortSignal
  ) {
    this.grid = new Grid(
      { ...events, describe: cell => this.describe(cell) },
      { name: 'Heads', cell: PICTURE, height: HIGHEST },
      signal
    );
    onThemeChange(() => this.forget(), signal);
  }

  axes(): { rows: Axis; columns: Axis } {
    const { layers, n_heads: n } = this.model.get('spec');
    this.rows ??= { name: 'layer', kind: 'layers', labels: layers.map(String), places: layers };
    const heads = Array.from({ length: n }, (_, head) => head);
    this.columns ??= { name: 'head', kind: 'heads', labels: heads.map(String), places: heads };
    return { rows: this.rows, columns: this.columns };
  }

  /** Draw them again: the pictures are of something else now. */
  forget(): void {
    this.drawn.clear();
    const { rows, columns } = this.axes();
    const n = columns.labels.length;
    const values = new Float32Array(rows.labels.length * n).fill(0);
    this.grid.show({
      rows,
      columns,
      values,
      heat: { kind: 'sequential', low: 0, high: 1 },
      text: (row, column) => this.strongest({ row, column }),
      picture: (ctx, { row, column }, x, y, size) => {
        const index = row * n + column;
        const image = this.drawn.get(index) ?? this.draw(rows.places[row] ?? -1, column);
        this.drawn.set(index, image);
        ctx.drawImage(image, x, y, size, size);
      }
    });
  }

  private draw(layer: number, head: number): HTMLCanvasElement {
    const { size, low } = this.model.get('small');
    const colours = new Colours(heatOf({ low: low < 0 ? -128 : 0, high: low < 0 ? 127 : 255 }), isDark());
    const image = document.createElement('canvas');
    image.width = image.height = size;
    const picture = pictureOf(this.model, layer, head) ?? new Uint8Array(size * size);
    const pixels = Uint32Array.from(picture, value => colours.pixel(low < 0 ? value - 128 : value));
    image.getContext('2d')?.putImageData(new ImageData(new Uint8ClampedArray(pixels.buffer), size, size), 0, 0);
    return image;
  }

  private describe(cell: Cell): string[] {
    const { layers, n_heads: n, scores } = this.model.get('spec');
    const lines = scores.map(({ name, values }) => `${name}: ${short(values[cell.row * n + cell.column] ?? NaN)}`);
    return [`head ${layers[cell.row] ?? ''}.${cell.column}`, ...lines, this.strongest(cell)];
  }

  /** Where a head looks most, as far as its small picture says. */
  private strongest({ row, column }: Cell): string {
    const { size, low, high } = this.model.get('small');
    const picture = pictureOf(this.model, this.model.get('spec').layers[row] ?? -1, column);
    const number = (at: number): number => low + ((picture?.[at] ?? 0) / 255) * (high - low);
    const most = picture?.reduce((best, _, at) => (Math.abs(number(at)) > Math.abs(number(best)) ? at : best), 0) ?? 0;
    const value = number(most);
    const { tokens } = this.model.get('spec');
    const token = (at: number): number => Math.floor((at * tokens.length) / size);
    return `most: ${short(Number(value.toPrecision(2)))}, token ${token(Math.floor(most / size))} to ${token(most % size)}`;
  }
}
