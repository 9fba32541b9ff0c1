/** What the pointer and the keys do on a grid. */

import { cellAt, type Cell, type Frame } from './frame';
import { between, type Rect } from './picks';

export interface Handled {
  readonly frame: Frame;
  readonly cursor: Cell | null;
  /** The cell under the pointer, or none. */
  hover(cell: Cell | null): void;
  /** Pick these cells alone, or beside what is picked; `again` lets go of what is picked already. */
  pick(rect: Rect, add: boolean, again: boolean): void;
  clear(): void;
  /** Go to a cell with the keyboard. */
  go(cell: Cell): void;
  zoom(factor: number, x: number | null): void;
  fit(): void;
  scrollBy(x: number, y: number): void;
}

const STEPS: Readonly<Record<string, readonly [row: number, column: number]>> = {
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
  PageUp: [-10, 0],
  PageDown: [10, 0]
};
const ZOOM = 1.4;
/** So near to the edge a drag scrolls on. */
const EDGE = 24;

export class Hand {
  /** Where a range begins that Shift ends. */
  private anchor: Cell | null = null;
  private dragged: Rect | null = null;
  private pressed: { cell: Cell; pointer: number; add: boolean } | null = null;

  constructor(
    private readonly stage: HTMLElement,
    private readonly grid: Handled,
    signal: AbortSignal
  ) {
    const on = <K extends keyof HTMLElementEventMap>(name: K, heard: (event: HTMLElementEventMap[K]) => void): void =>
      stage.addEventListener(name, heard, { signal });
    on('pointerdown', event => this.down(event));
    on('pointermove', event => this.move(event));
    on('pointerup', event => this.up(event));
    on('pointercancel', () => this.let());
    on('lostpointercapture', () => this.let());
    on('pointerleave', () => grid.hover(null));
    on('click', event => this.tap(event));
    on('dblclick', event => grid.zoom(2, this.place(event).x));
    on('keydown', event => {
      if (this.key(event)) {
        event.preventDefault();
        event.stopPropagation();
      }
    });
    stage.addEventListener('wheel', event => this.wheel(event), { signal, passive: false });
  }

  private place(event: MouseEvent): { x: number; y: number } {
    const { left, top } = this.stage.getBoundingClientRect();
    return { x: event.clientX - left - this.stage.clientLeft, y: event.clientY - top - this.stage.clientTop };
  }

  private cell(event: MouseEvent, strict: boolean): Cell | null {
    const { x, y } = this.place(event);
    return cellAt(this.grid.frame, x, y, strict);
  }

  private down(event: PointerEvent): void {
    const cell = this.cell(event, true);
    // a finger scrolls, and picks with a tap; the scroll bars are no cells
    if (event.button !== 0 || event.pointerType === 'touch' || cell === null || this.onBars(event)) {
      return;
    }
    this.pressed = { cell, pointer: event.pointerId, add: event.ctrlKey || event.metaKey };
    if (event.shiftKey && this.anchor !== null) {
      this.pressed.cell = this.anchor;
      this.draw(between(this.anchor, cell));
    }
    try {
      this.stage.setPointerCapture(event.pointerId);
    } catch {
      // a pointer that is gone already, or was made by a test, cannot be held
    }
  }

  private onBars(event: MouseEvent): boolean {
    const { x, y } = this.place(event);
    return x > this.stage.clientWidth || y > this.stage.clientHeight;
  }

  private move(event: PointerEvent): void {
    this.grid.hover(event.pointerType === 'touch' || this.onBars(event) ? null : this.cell(event, true));
    if (this.pressed?.pointer !== event.pointerId) {
      return;
    }
    const { x, y } = this.place(event);
    const { frame } = this.grid;
    const beyond = (at: number, low: number, high: number): number => (at < low ? -EDGE : at > high ? EDGE : 0);
    this.grid.scrollBy(beyond(x, frame.gutter, frame.width), beyond(y, frame.header, frame.height));
    const cell = this.cell(event, false);
    const moved = cell !== null && (cell.row !== this.pressed.cell.row || cell.column !== this.pressed.cell.column);
    if (cell !== null && (moved || this.dragged !== null)) {
      this.draw(between(this.pressed.cell, cell));
    }
  }

  private draw(rect: Rect): void {
    this.dragged = rect;
    this.grid.pick(rect, this.pressed?.add ?? false, false);
  }

  private up(event: PointerEvent): void {
    if (this.pressed?.pointer !== event.pointerId) {
      return;
    }
    const { cell, add } = this.pressed;
    if (this.dragged === null) {
      this.grid.pick(between(cell, cell), add, true);
    }
    this.anchor = cell;
    this.let();
  }

  private let(): void {
    this.pressed = null;
    this.dragged = null;
  }

  /** A finger's tap: a mouse has picked already when it clicks. */
  private tap(event: MouseEvent): void {
    const touched = (event as PointerEvent).pointerType === 'touch';
    const cell = touched ? this.cell(event, true) : null;
    if (cell !== null) {
      this.anchor = cell;
      this.grid.hover(cell);
      this.grid.pick(between(cell, cell), false, true);
    }
  }

  private wheel(event: WheelEvent): void {
    // a wheel alone scrolls, as everywhere
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      const turned = Math.max(-300, Math.min(300, event.deltaY * (event.deltaMode === 1 ? 20 : 1)));
      this.grid.zoom(Math.exp(-turned * (Math.abs(turned) < 40 ? 0.01 : 0.0025)), this.place(event).x);
    }
  }

  /** Do what a key says; false where it says nothing here. */
  private key(event: KeyboardEvent): boolean {
    const { grid } = this;
    const { nRows, nColumns } = grid.frame;
    const control = event.ctrlKey || event.metaKey;
    const at = grid.cursor ?? { row: 0, column: 0 };
    const step = STEPS[event.key];
    if (event.altKey || nRows === 0 || nColumns === 0) {
      return false;
    }
    if (step !== undefined && !control) {
      // the first key only says where the hand is
      const [down, right] = grid.cursor === null ? [0, 0] : step;
      this.goTo({ row: at.row + down, column: at.column + right }, event.shiftKey);
    } else if (event.key === 'Home') {
      this.goTo({ row: control ? 0 : at.row, column: 0 }, event.shiftKey);
    } else if (event.key === 'End') {
      this.goTo({ row: control ? nRows - 1 : at.row, column: nColumns - 1 }, event.shiftKey);
    } else if (event.key === ' ' || (event.key === 'Enter' && !event.shiftKey && !control)) {
      this.anchor = at;
      grid.go(at);
      grid.pick(between(at, at), control, true);
    } else if (event.key === 'Escape') {
      grid.clear();
    } else if ((event.key === '+' || event.key === '=') && !control) {
      grid.zoom(ZOOM, null);
    } else if ((event.key === '-' || event.key === '_') && !control) {
      grid.zoom(1 / ZOOM, null);
    } else if (event.key === '0' && !control) {
      grid.fit();
    } else {
      return false;
    }
    return true;
  }

  private goTo(cell: Cell, range: boolean): void {
    const { grid } = this;
    const { nRows, nColumns } = grid.frame;
    const to = {
      row: Math.min(nRows - 1, Math.max(0, cell.row)),
      column: Math.min(nColumns - 1, Math.max(0, cell.column))
    };
    if (range) {
      this.anchor ??= grid.cursor ?? to;
      grid.go(to);
      grid.pick(between(this.anchor, to), false, false);
    } else {
      this.anchor = to;
      grid.go(to);
    }
  }
}
