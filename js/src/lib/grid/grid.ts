/** A grid of numbers on a canvas: scrolls and zooms over thousands of columns, by hand, by keys, and as a table. */

import { iconButton } from '../controls';
import { freshId, html } from '../elements';
import type { Axis } from '../protocol';
import { Tooltip } from '../scatter/tooltip';
import { DARK, isDark, LIGHT, onThemeChange } from '../theme';
import { oncePerFrame } from '../timing';
import { visible } from '../tokens';
import { scrollTo, seen, xOf, yOf, type Cell, type Frame } from './frame';
import './grid.css';
import { Hand } from './hand';
import { Colours, type Heat } from './heat';
import { Painter, roomFor, type Drawn } from './painter';
import { isSame, type Rect } from './picks';

export interface GridData {
  rows: Axis;
  columns: Axis;
  /** `[row, column]`, NaN where there is nothing. */
  values: Float32Array;
  heat: Heat;
  /** What stands in a cell, and in the table. */
  text: (row: number, column: number) => string;
  picture?: Drawn['picture'];
}

export interface GridEvents {
  /** What is said of a cell, beside it and aloud. */
  describe(cell: Cell): string[];
  /** Pick these cells alone or beside what is picked; `again`: let go of them where they are all that is picked. */
  pick(rect: Rect, add: boolean, again: boolean): void;
  clear(): void;
  hover?(cell: Cell | null): void;
}

export interface GridOptions {
  name: string;
  /** Cells are as high as wide, and zoom in both directions. */
  square?: boolean;
  /** Cells that hold words want this width at first; 0 shows everything. */
  wanted?: number;
  /** Cells are pictures of this size; they do not zoom. */
  cell?: number;
  /** The highest that it may be. */
  height?: number;
}

const WIDEST = 90;
const TALLEST = 22;
const LOWEST = 9;
const SCROLLBAR = 14;
const LEAST_PICTURE = 28;
const HELP =
  'Arrow keys go from cell to cell, Home and End to the ends of a row; Space or Enter picks, Shift with an arrow picks a range, ' +
  'Escape lets go. Plus, minus and 0 zoom. Below is what is seen, as a table.';
const MOST_LINES = 100;
const MOST_COLUMNS = 60;

export class Grid {
  readonly element = html('div', { class: 'nbi-grid' });
  /** Buttons that zoom, to be put where there is room. */
  readonly tools = html('span', { class: 'nbi-grid-tools', role: 'group', 'aria-label': 'Zoom' });

  private readonly canvas = html('canvas', { 'aria-hidden': 'true' });
  private readonly spacer = html('div', { class: 'nbi-grid-spacer' }, this.canvas);
  private readonly stage: HTMLElement;
  private readonly numbers = html('div', { class: 'nbi-grid-numbers', tabindex: 0, role: 'region' });
  private readonly details: HTMLDetailsElement;
  private readonly tooltip: Tooltip;
  private readonly painter: Painter | null;
  private readonly ctx: CanvasRenderingContext2D | null;
  private readonly redraw: () => void;

  private data: GridData | null = null;
  private drawn: Drawn | null = null;
  private picked: readonly Rect[] = [];
  private hovered: Cell | null = null;
  private cursor: Cell | null = null;
  private level = true;
  /** 1 shows everything. */
  private nearness = 0;
  private frame: Frame = {
    ...{ nRows: 0, nColumns: 0, cellWidth: 1, cellHeight: 1, gutter: 0, header: 0 },
    ...{ width: 0, height: 0, left: 0, top: 0 }
  };
  private tabled = '';

  constructor(
    private readonly events: GridEvents,
    private readonly options: GridOptions,
    signal: AbortSignal
  ) {
    const help = html('p', { class: 'nbi-hidden', id: freshId('grid-help') }, HELP);
    this.stage = html(
      'div',
      {
        ...{ class: 'nbi-grid-stage', tabindex: 0, role: 'application', 'aria-roledescription': 'grid of numbers' },
        ...{ 'aria-label': options.name, 'aria-describedby': help.id }
      },
      this.spacer
    );
    this.ctx = this.canvas.getContext('2d');
    this.painter = this.ctx === null ? null : new Painter(this.ctx);
    this.tooltip = new Tooltip(index => events.describe(this.cellOf(index)), signal);
    this.redraw = oncePerFrame(() => this.draw(), signal);
    this.details = html('details', { class: 'nbi-grid-table' }, html('summary', {}, 'The numbers that are seen'));
    this.details.append(this.numbers);
    this.numbers.setAttribute('aria-label', `${options.name} as a table`);
    this.details.addEventListener('toggle', () => this.redraw(), { signal });
    this.tools.append(
      iconButton('less', 'Show more at once (−)', signal, () => this.zoom(1 / 1.4, null), { bare: true }),
      iconButton('add', 'Come nearer (+)', signal, () => this.zoom(1.4, null), { bare: true }),
      iconButton('fit', 'Show all (0)', signal, () => this.fit(), { bare: true })
    );
    const holder = html('div', { class: 'nbi-grid-holder' }, this.stage, this.tooltip.element);
    this.element.append(holder, help, this.tooltip.voice, this.details);
    new Hand(this.stage, this.handled(), signal);
    this.stage.addEventListener('scroll', () => this.redraw(), { signal, passive: true });
    this.stage.addEventListener('blur', () => this.setCursor(null), { signal });
    onThemeChange(() => this.recolour(), signal);
    const size = new ResizeObserver(() => this.measure());
    size.observe(this.element);
    signal.addEventListener('abort', () => size.disconnect());
  }

  /** Show other numbers, of the same cells or of others. */
  show(data: GridData): void {
    const before = this.data;
    this.data = data;
    const same = before?.rows === data.rows && before.columns === data.columns;
    this.recolour();
    if (!same) {
      this.setCursor(null);
      this.hover(null);
      this.nearness = 0;
      this.measure();
    }
  }

  mark(picked: readonly Rect[]): void {
    this.picked = picked;
    this.redraw();
  }

  focus(): void {
    this.stage.focus();
  }

  /** What is seen as a picture. */
  picture(): string | null {
    this.draw();
    return this.canvas.width > 0 && this.canvas.height > 0 ? this.canvas.toDataURL('image/png') : null;
  }

  private cellOf(index: number): Cell {
    const { nColumns } = this.frame;
    return { row: Math.floor(index / nColumns), column: index % nColumns };
  }

  private handled(): ConstructorParameters<typeof Hand>[1] {
    const cursor = (): Cell | null => this.cursor;
    const frame = (): Frame => this.frame;
    return {
      get frame() {
        return frame();
      },
      get cursor() {
        return cursor();
      },
      hover: cell => this.hover(cell),
      pick: (rect, add, again) => {
        const only = this.picked[0];
        const alone = this.picked.length === 1 && only !== undefined && isSame(only, rect);
        if (again && alone) {
          this.events.clear();
        } else {
          this.events.pick(rect, add, again);
        }
      },
      clear: () => this.events.clear(),
      go: cell => this.setCursor(cell),
      zoom: (factor, x) => this.zoom(factor, x),
      fit: () => this.fit(),
      scrollBy: (x, y) => {
        if (x !== 0 || y !== 0) {
          this.stage.scrollBy(x, y);
        }
      }
    };
  }

  private hover(cell: Cell | null): void {
    const before = this.hovered;
    if (before?.row !== cell?.row || before?.column !== cell?.column) {
      this.hovered = cell;
      this.events.hover?.(cell);
      this.redraw();
    }
    if (this.cursor === null || cell !== null) {
      this.tell(cell, false);
    }
  }

  private setCursor(cell: Cell | null): void {
    this.cursor = cell;
    if (cell !== null) {
      this.stage.scrollTo({ ...scrollTo(this.frame, cell), behavior: 'instant' });
      this.followScroll();
    }
    this.tell(cell, true);
    this.events.hover?.(cell);
    this.redraw();
  }

  private tell(cell: Cell | null, aloud: boolean): void {
    const { frame } = this;
    if (cell === null) {
      this.tooltip.show(null, 0, 0, 0, false);
      return;
    }
    const x = xOf(frame, cell.column) + frame.cellWidth / 2;
    const y = yOf(frame, cell.row) + frame.cellHeight;
    this.tooltip.show(cell.row * frame.nColumns + cell.column, x, y, frame.width, aloud);
  }

  private recolour(): void {
    const { data } = this;
    if (data !== null) {
      this.drawn = { ...data, colours: new Colours(data.heat, isDark()) };
      this.tabled = '';
      this.redraw();
    }
  }

  private zoom(factor: number, x: number | null): void {
    const { frame } = this;
    const least = this.leastWidth();
    const width = Math.min(WIDEST, Math.max(least, frame.cellWidth * factor));
    if (width === frame.cellWidth || this.options.cell !== undefined) {
      return;
    }
    // the cell under the hand, or in the middle, stays where it is
    const at = Math.max(frame.gutter, x ?? frame.gutter + (frame.width - frame.gutter) / 2);
    const column = (at - frame.gutter + frame.left) / frame.cellWidth;
    const middle = frame.header + (frame.height - frame.header) / 2;
    const row = (middle - frame.header + frame.top) / frame.cellHeight;
    this.nearness = width <= least * 1.0001 ? 1 : width / least;
    this.measure();
    this.stage.scrollLeft = column * this.frame.cellWidth - (at - frame.gutter);
    this.stage.scrollTop = row * this.frame.cellHeight - (middle - frame.header);
    this.followScroll();
  }

  /** Know at once how far it is scrolled: the next key may come before the next picture. */
  private followScroll(): void {
    this.frame = { ...this.frame, left: this.stage.scrollLeft, top: this.stage.scrollTop };
    this.redraw();
  }

  private fit(): void {
    this.nearness = 1;
    this.measure();
  }

  /** Width of a cell when all are shown. */
  private leastWidth(): number {
    const { data } = this;
    if (data === null) {
      return 1;
    }
    const { gutter } = this.frame;
    const n = Math.max(1, data.columns.labels.length);
    const room = Math.max(40, this.element.clientWidth - gutter - this.slack() - 4);
    const fitting = room / n;
    if (this.options.cell !== undefined) {
      return Math.max(LEAST_PICTURE, Math.min(this.options.cell, fitting));
    }
    return this.options.square === true
      ? Math.min(28, fitting, this.highest() / Math.max(1, data.rows.labels.length))
      : Math.min(WIDEST, fitting);
  }

  private highest(): number {
    return this.options.height ?? 560;
  }

  /** Room that the last column's slanted name needs. */
  private slack(): number {
    return this.level ? 0 : 0.45 * this.frame.header;
  }

  /** Find out how large everything is. */
  private measure(): void {
    const { data, ctx, options } = this;
    if (data === null || ctx === null) {
      return;
    }
    const { clientWidth } = this.element;
    const [nRows, nColumns] = [data.rows.labels.length, data.columns.labels.length];
    // whether names fit level depends on the width of cells, which depends on the room that names leave
    for (let again = 0; again < 2; again += 1) {
      const least = this.leastWidth();
      if (this.nearness === 0 && clientWidth > 0) {
        const wanted = Math.max(least, nColumns <= 80 ? (options.wanted ?? 0) : 0);
        this.nearness = wanted > least * 1.0001 ? wanted / least : 1;
      }
      const cellWidth = Math.min(WIDEST, least * Math.max(1, this.nearness));
      const room = roomFor(ctx, data.rows, data.columns, cellWidth);
      this.level = room.level;
      const rowHeight = Math.min(TALLEST, Math.max(LOWEST, (this.highest() - room.header) / Math.max(1, nRows)));
      const cellHeight = options.square === true || options.cell !== undefined ? cellWidth : rowHeight;
      this.frame = { ...this.frame, nRows, nColumns, cellWidth, cellHeight, gutter: room.gutter, header: room.header };
    }
    const { cellWidth, cellHeight, gutter, header } = this.frame;
    const contentWidth = gutter + nColumns * cellWidth + this.slack() + 1;
    const contentHeight = header + nRows * cellHeight + 1;
    const scrolls = contentWidth > clientWidth + 1;
    const height = Math.min(contentHeight, this.highest() + header) + (scrolls ? SCROLLBAR : 0);
    this.stage.style.height = `${Math.ceil(height)}px`;
    this.stage.style.overflowX = scrolls ? 'scroll' : 'hidden';
    this.spacer.style.width = scrolls ? `${contentWidth}px` : '100%';
    this.spacer.style.height = `${contentHeight}px`;
    this.redraw();
  }

  private draw(): void {
    const { stage, canvas, ctx, painter, drawn } = this;
    const { clientWidth: width, clientHeight: height } = stage;
    if (ctx === null || painter === null || drawn === null || width === 0 || height === 0) {
      return;
    }
    const ratio = Math.min(3, devicePixelRatio || 1);
    const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.width !== wide || canvas.height !== high) {
      canvas.width = wide;
      canvas.height = high;
      canvas.style.width = `${width}px`;
      canvas.style.height = `${height}px`;
    }
    this.frame = { ...this.frame, width, height, left: stage.scrollLeft, top: stage.scrollTop };
    const marks = { picked: this.picked, hovered: this.hovered, cursor: this.cursor };
    painter.paint(this.frame, drawn, marks, isDark() ? DARK : LIGHT, ratio, this.level);
    const rect = seen(this.frame);
    Object.assign(this.element.dataset, {
      cells: `${rect.r0}:${rect.r1} ${rect.c0}:${rect.c1}`,
      cellWidth: this.frame.cellWidth.toFixed(2),
      cellHeight: this.frame.cellHeight.toFixed(2),
      gutter: this.frame.gutter,
      header: this.frame.header
    });
    this.tabulate();
  }

  /** Write what is seen into a table, while it is open. */
  private tabulate(): void {
    const { data } = this;
    if (data === null || !this.details.open) {
      return;
    }
    const { r0, r1, c0, c1 } = seen(this.frame);
    const lines = Math.min(MOST_LINES, r1 - r0 + 1);
    const columns = Math.min(MOST_COLUMNS, c1 - c0 + 1);
    const what = [r0, c0, lines, columns].join();
    if (what === this.tabled) {
      return;
    }
    this.tabled = what;
    const name = (label: string): string => visible(label.slice(0, 60));
    const head = html('tr', {}, html('td', {}, ''));
    for (let column = c0; column < c0 + columns; column += 1) {
      head.append(html('th', { scope: 'col' }, name(data.columns.labels[column] ?? '')));
    }
    const body = html('tbody');
    for (let row = r0; row < r0 + lines; row += 1) {
      const line = html('tr', {}, html('th', { scope: 'row' }, name(data.rows.labels[row] ?? '')));
      for (let column = c0; column < c0 + columns; column += 1) {
        line.append(html('td', {}, data.text(row, column)));
      }
      body.append(line);
    }
    const cut = lines <= r1 - r0 || columns <= c1 - c0;
    const caption = `${data.rows.name} down, ${data.columns.name} across${cut ? '; come nearer to see all of it' : ''}`;
    this.numbers.replaceChildren(html('table', {}, html('caption', {}, caption), html('thead', {}, head), body));
  }
}
