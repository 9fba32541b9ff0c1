/** Draws what is seen of a grid on a canvas: cells, what is in them, names, and what is picked. */

import type { Axis } from '../protocol';
import type { Palette } from '../theme';
import { visible } from '../tokens';
import { everyName, seen, xOf, yOf, type Cell, type Frame } from './frame';
import type { Colours, Heat } from './heat';
import type { Rect } from './picks';

export interface Drawn {
  rows: Axis;
  columns: Axis;
  /** `[row, column]` */
  values: Float32Array;
  colours: Colours;
  /** What stands in a cell that has room for it. */
  text: (row: number, column: number) => string;
  /** Draws what a cell shows in the place of its colour, where cells are pictures. */
  picture?: (ctx: CanvasRenderingContext2D, cell: Cell, x: number, y: number, size: number) => void;
}

export interface Marks {
  picked: readonly Rect[];
  hovered: Cell | null;
  cursor: Cell | null;
}

export const FONT = '11px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';
const SLANT = Math.PI / 3;
const NAME_HEIGHT = 13;
const LONGEST_NAME = 14;
const NUMBER_ROOM = 44;
/** Around a picture in a cell. */
const GAP = 3;
const TEXT_WIDTH = 20;
const TEXT_HEIGHT = 12;

/** A row's or column's name as short as an axis wants it. */
export function nameOf(label: string): string {
  // a token may be ten thousand letters long: what is cut off is not looked at
  const text = visible(label.slice(0, 2 * LONGEST_NAME));
  return text.length > LONGEST_NAME || label.length > 2 * LONGEST_NAME ? `${text.slice(0, LONGEST_NAME - 1)}…` : text;
}

/** Whether there is no room for every column's name, not even slanted. */
function isSparse(cellWidth: number): boolean {
  return cellWidth < NAME_HEIGHT / Math.sin(SLANT);
}

/** Room for names: `gutter` beside the rows, `header` above the columns, whose names lie level where they fit. */
export function roomFor(
  ctx: CanvasRenderingContext2D,
  rows: Axis,
  columns: Axis,
  cellWidth: number
): { gutter: number; header: number; level: boolean } {
  ctx.font = FONT;
  const widest = (labels: readonly string[]): number =>
    // of thousands of names the first hundreds say how wide they are
    labels.slice(0, 400).reduce((most, label) => Math.max(most, ctx.measureText(nameOf(label)).width), 0);
  const gutter = Math.ceil(Math.min(120, widest(rows.labels)) + 14 + 16);
  const width = Math.min(100, widest(columns.labels));
  // where names are left out there are numbers, which are short
  const level = width + 8 <= cellWidth || isSparse(cellWidth);
  const header = Math.ceil((level ? 20 : width * Math.sin(SLANT) + 12) + 16);
  return { gutter, header, level };
}

/**
 * Of the values that share a pixel, where cells are smaller than pixels, the one that stands out: the largest, the
 * smallest where the scale ends there, on a diverging scale the one furthest from 0. `[height, width]`
 */
export function pooled(
  values: Float32Array,
  nColumns: number,
  { r0, r1, c0, c1 }: Rect,
  width: number,
  height: number,
  heat: Heat
): Float32Array {
  const weight =
    heat.kind === 'diverging' ? Math.abs : heat.high < heat.low ? (value: number) => -value : (value: number) => value;
  const result = new Float32Array(width * height).fill(NaN);
  const [rows, columns] = [r1 - r0 + 1, c1 - c0 + 1];
  const to = new Uint32Array(columns);
  for (let column = 0; column < columns; column += 1) {
    to[column] = Math.floor((column * width) / columns);
  }
  for (let row = 0; row < rows; row += 1) {
    const line = Math.floor((row * height) / rows) * width;
    const from = (r0 + row) * nColumns + c0;
    for (let column = 0; column < columns; column += 1) {
      const value = values[from + column] ?? NaN;
      const at = line + (to[column] ?? 0);
      const before = result[at] ?? NaN;
      if (before !== before || weight(value) > weight(before)) {
        result[at] = value;
      }
    }
  }
  return result;
}

export class Painter {
  private readonly image = document.createElement('canvas');
  private imaged: { values: Float32Array | null; colours: Colours | null; what: string } = {
    ...{ values: null, colours: null, what: '' }
  };
  private readonly widths = new Map<string, number>();

  constructor(private readonly ctx: CanvasRenderingContext2D) {}

  paint(frame: Frame, drawn: Drawn, marks: Marks, palette: Palette, ratio: number, level: boolean): void {
    const { ctx } = this;
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.clearRect(0, 0, frame.width, frame.height);
    if (frame.nRows === 0 || frame.nColumns === 0) {
      return;
    }
    ctx.save();
    ctx.beginPath();
    ctx.rect(frame.gutter, frame.header, frame.width - frame.gutter, frame.height - frame.header);
    ctx.clip();
    if (drawn.picture === undefined) {
      this.cells(frame, drawn, ratio, palette);
      this.texts(frame, drawn);
    } else {
      this.pictures(frame, drawn.picture, palette);
    }
    this.marks(frame, marks, palette);
    ctx.restore();
    this.rowNames(frame, drawn.rows, marks, palette);
    this.columnNames(frame, drawn.columns, marks, palette, level);
    this.titles(frame, drawn, palette);
  }

  private cells(frame: Frame, { values, colours }: Drawn, ratio: number, palette: Palette): void {
    const { ctx, image } = this;
    const rect = seen(frame);
    const [rows, columns] = [rect.r1 - rect.r0 + 1, rect.c1 - rect.c0 + 1];
    const width = Math.max(1, Math.min(columns, Math.round(columns * frame.cellWidth * ratio)));
    const height = Math.max(1, Math.min(rows, Math.round(rows * frame.cellHeight * ratio)));
    const what = [rect.r0, rect.r1, rect.c0, rect.c1, width, height].join();
    // a hand that only moves over millions of cells leaves their picture as it is
    if (this.imaged.values !== values || this.imaged.colours !== colours || this.imaged.what !== what) {
      this.imaged = { values, colours, what };
      const found = pooled(values, frame.nColumns, rect, width, height, colours.heat);
      const pixels = new Uint32Array(found.length);
      for (let at = 0; at < found.length; at += 1) {
        pixels[at] = colours.pixel(found[at] ?? NaN);
      }
      image.width = width;
      image.height = height;
      const data = new ImageData(new Uint8ClampedArray(pixels.buffer), width, height);
      image.getContext('2d')?.putImageData(data, 0, 0);
    }
    ctx.imageSmoothingEnabled = false;
    const [x, y] = [xOf(frame, rect.c0), yOf(frame, rect.r0)];
    const [w, h] = [columns * frame.cellWidth, rows * frame.cellHeight];
    ctx.drawImage(image, x, y, w, h);
    // cells with room for it are told apart, also where neighbours have the same colour
    ctx.fillStyle = palette.surface;
    if (frame.cellWidth >= 7) {
      for (let column = rect.c0; column <= rect.c1 + 1; column += 1) {
        ctx.fillRect(Math.round(xOf(frame, column)) - 0.5, y, 1, h);
      }
    }
    if (frame.cellHeight >= 7) {
      for (let row = rect.r0; row <= rect.r1 + 1; row += 1) {
        ctx.fillRect(x, Math.round(yOf(frame, row)) - 0.5, w, 1);
      }
    }
    ctx.strokeStyle = palette.line;
    ctx.lineWidth = 1;
    ctx.strokeRect(
      xOf(frame, 0) - 0.5,
      yOf(frame, 0) - 0.5,
      frame.nColumns * frame.cellWidth + 1,
      frame.nRows * frame.cellHeight + 1
    );
  }

  private pictures(frame: Frame, picture: NonNullable<Drawn['picture']>, palette: Palette): void {
    const { r0, r1, c0, c1 } = seen(frame);
    const size = frame.cellWidth - 2 * GAP;
    this.ctx.imageSmoothingEnabled = false;
    this.ctx.lineWidth = 1;
    this.ctx.strokeStyle = palette.line;
    for (let row = r0; row <= r1; row += 1) {
      for (let column = c0; column <= c1; column += 1) {
        const [x, y] = [Math.round(xOf(frame, column) + GAP), Math.round(yOf(frame, row) + GAP)];
        picture(this.ctx, { row, column }, x, y, size);
        this.ctx.strokeRect(x - 0.5, y - 0.5, size + 1, size + 1);
      }
    }
  }

  private texts(frame: Frame, { values, colours, text }: Drawn): void {
    const { ctx } = this;
    if (frame.cellWidth < TEXT_WIDTH || frame.cellHeight < TEXT_HEIGHT) {
      return;
    }
    ctx.font = FONT;
    ctx.textAlign = 'center';
    ctx.textBaseline = 'middle';
    const rect = seen(frame);
    for (let row = rect.r0; row <= rect.r1; row += 1) {
      for (let column = rect.c0; column <= rect.c1; column += 1) {
        const value = values[row * frame.nColumns + column] ?? NaN;
        const shown = value === value ? this.fit(text(row, column), frame.cellWidth - 4) : '';
        // nothing is said of nothing: what is there stands out
        if (shown !== '' && shown !== '0') {
          ctx.fillStyle = colours.ink(value);
          ctx.fillText(shown, xOf(frame, column) + frame.cellWidth / 2, yOf(frame, row) + frame.cellHeight / 2 + 0.5);
        }
      }
    }
  }

  /** A text as far as it fits; a number that does not fit whole is not shown at all. */
  private fit(text: string, room: number): string {
    if (this.widthOf(text) <= room) {
      return text;
    }
    if (/^[+−]?[\d.]/.test(text)) {
      const bare = text.replace(/^([+−]?)0\./, '$1.');
      return bare !== text && this.widthOf(bare) <= room ? bare : '';
    }
    let end = Math.min(text.length - 1, Math.floor(room / 4));
    while (end > 0 && this.widthOf(`${text.slice(0, end)}…`) > room) {
      end -= 1;
    }
    return end === 0 ? '' : `${text.slice(0, end)}…`;
  }

  private widthOf(text: string): number {
    let width = this.widths.get(text);
    if (width === undefined) {
      width = this.ctx.measureText(text).width;
      if (this.widths.size > 20_000) {
        this.widths.clear();
      }
      this.widths.set(text, width);
    }
    return width;
  }

  private marks(frame: Frame, { picked, hovered, cursor }: Marks, palette: Palette): void {
    const { ctx } = this;
    const outline = (rect: Rect, colour: string, width: number, dash: number[] = []): void => {
      const [x, y] = [xOf(frame, rect.c0), yOf(frame, rect.r0)];
      ctx.strokeStyle = colour;
      ctx.lineWidth = width;
      ctx.setLineDash(dash);
      const [w, h] = [(rect.c1 - rect.c0 + 1) * frame.cellWidth, (rect.r1 - rect.r0 + 1) * frame.cellHeight];
      // what is smaller than a pixel is still outlined
      ctx.strokeRect(x, y, Math.max(2, w), Math.max(2, h));
    };
    // a pale line around a dark one is seen on every colour, in both themes
    const thin = Math.min(frame.cellWidth, frame.cellHeight) < 8 && picked.length > 0;
    for (const rect of picked) {
      outline(rect, palette.surface, thin ? 2.5 : 4.5);
    }
    for (const rect of picked) {
      outline(rect, palette.control, thin ? 1.2 : 2.5);
    }
    const at = ({ row, column }: Cell): Rect => ({ r0: row, r1: row, c0: column, c1: column });
    if (hovered !== null) {
      // thin, so that what is picked is still seen under it
      outline(at(hovered), palette.ink, 1.2);
    }
    if (cursor !== null) {
      outline(at(cursor), palette.surface, 4);
      outline(at(cursor), palette.ink, 2.5, [4, 3]);
    }
    ctx.setLineDash([]);
  }

  private rowNames(frame: Frame, axis: Axis, { hovered, cursor }: Marks, palette: Palette): void {
    const { ctx } = this;
    ctx.save();
    ctx.beginPath();
    ctx.rect(0, frame.header - 8, frame.gutter, frame.height - frame.header + 8);
    ctx.clip();
    ctx.textAlign = 'right';
    ctx.textBaseline = 'middle';
    const every = everyName(frame.cellHeight, NAME_HEIGHT);
    const { r0, r1 } = seen(frame);
    const special = [hovered?.row, cursor?.row].find(row => row !== undefined);
    const write = (row: number, bold: boolean): void => {
      const y = yOf(frame, row) + frame.cellHeight / 2;
      const sparse = every > 1 && axis.kind === 'tokens' && !bold;
      const name = sparse ? String(axis.places[row]) : nameOf(axis.labels[row] ?? '');
      ctx.font = bold ? `600 ${FONT}` : FONT;
      ctx.fillStyle = bold ? palette.ink : palette.muted;
      ctx.fillText(name, frame.gutter - 7, y, frame.gutter - 9 - 14);
    };
    for (let row = r0; row <= r1; row += 1) {
      const near = special !== undefined && row !== special && Math.abs(row - special) * frame.cellHeight < NAME_HEIGHT;
      if (row % every === 0 && !near && row !== special) {
        write(row, false);
      }
    }
    if (special !== undefined) {
      write(special, true);
    }
    ctx.restore();
  }

  private columnNames(frame: Frame, axis: Axis, { hovered, cursor }: Marks, palette: Palette, level: boolean): void {
    const { ctx } = this;
    ctx.save();
    ctx.beginPath();
    ctx.rect(frame.gutter - 10, 0, frame.width - frame.gutter + 10, frame.header);
    ctx.clip();
    const sparse = isSparse(frame.cellWidth);
    const every = sparse ? everyName(frame.cellWidth, NUMBER_ROOM) : 1;
    const room = sparse ? NUMBER_ROOM + 30 : level ? 1 : 2;
    const { c0, c1 } = seen(frame);
    const special = [hovered?.column, cursor?.column].find(column => column !== undefined);
    const write = (column: number, bold: boolean): void => {
      const label = axis.labels[column] ?? '';
      // in between names are left out: then where it stands says more than what it says
      const name = !sparse || bold ? nameOf(label) : String(axis.kind === 'tokens' ? axis.places[column] : label);
      const x = xOf(frame, column) + frame.cellWidth / 2;
      ctx.font = bold ? `600 ${FONT}` : FONT;
      ctx.save();
      ctx.translate(x, frame.header - 6);
      if (level) {
        ctx.textAlign = 'center';
        ctx.textBaseline = 'alphabetic';
      } else {
        ctx.rotate(-SLANT);
        ctx.textAlign = 'left';
        ctx.textBaseline = 'middle';
      }
      ctx.fillStyle = bold ? palette.ink : palette.muted;
      ctx.fillText(name, 0, 0);
      ctx.restore();
    };
    const first = Math.ceil(c0 / every) * every;
    for (let column = first; column <= c1; column += every) {
      const near = special !== undefined && Math.abs(column - special) * frame.cellWidth < room;
      if (!near && column !== special) {
        write(column, false);
      }
    }
    if (special !== undefined) {
      write(special, true);
    }
    ctx.restore();
  }

  private titles(frame: Frame, { rows, columns }: Drawn, palette: Palette): void {
    const { ctx } = this;
    ctx.font = FONT;
    ctx.fillStyle = palette.muted;
    ctx.textAlign = 'left';
    ctx.textBaseline = 'top';
    ctx.fillText(`${columns.name} →`, frame.gutter, 1);
    ctx.save();
    ctx.translate(3, Math.min(frame.height, yOf(frame, frame.nRows)));
    ctx.rotate(-Math.PI / 2);
    // it is read upwards
    const rising = (rows.places[0] ?? 0) > (rows.places[rows.labels.length - 1] ?? 0);
    ctx.fillText(rising ? `${rows.name} →` : `← ${rows.name}`, 0, 0);
    ctx.restore();
  }
}
