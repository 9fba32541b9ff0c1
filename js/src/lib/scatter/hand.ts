/** What a mouse, a pen, fingers and keys do to a plot. */

import { oncePerFrame } from '../timing';
import type { Way } from './lasso';
import { MARGIN } from './overlay';

export type Tool = 'lasso' | 'box' | 'pan';

/** What the hand can do; places are pixels of the plot. */
export interface Handled {
  tool: Tool;
  zoomAt(x: number, y: number, factor: number): void;
  panBy(dx: number, dy: number): void;
  fit(): void;
  /** The outline that is being drawn, and picked; `done` when the hand lets go. */
  outline(corners: readonly number[], way: Way, done: boolean): void;
  /** Pick the row at a place. */
  click(x: number, y: number, way: Way, reach: number): void;
  /** Let go of an outline without picking. */
  cancel(): void;
  clear(): void;
  all(): void;
  hoverAt(x: number, y: number): void;
  leave(): void;
  /** Move the keyboard's cursor. */
  step(dx: number, dy: number): void;
  pickCursor(way: Way): boolean;
}

/** Pixels that a hand may shake in a click. */
const STILL = 4;
const MOUSE_REACH = 10;
const FINGER_REACH = 24;
const KEY_ZOOM = 1.4;
const ARROWS: Readonly<Record<string, readonly [number, number]>> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1]
};
const TOOLS: Readonly<Record<string, Tool>> = { l: 'lasso', b: 'box', p: 'pan' };

export class Hand {
  private readonly pointers = new Map<number, { x: number; y: number }>();
  private gesture: 'outline' | 'pan' | 'pinch' | null = null;
  private start = { x: 0, y: 0 };
  private moved = false;
  private outline: number[] = [];
  private way: Way = 'replace';
  private space: 'up' | 'down' | 'used' = 'up';
  private readonly outlineSoon: () => void;

  constructor(
    private readonly stage: HTMLElement,
    private readonly plot: Handled,
    signal: AbortSignal
  ) {
    // a fast hand reports its place several times a frame: the rows are looked through once
    this.outlineSoon = oncePerFrame(() => {
      if (this.gesture === 'outline' && this.moved) {
        plot.outline(this.outline, this.way, false);
      }
    }, signal);
    const on = <K extends keyof HTMLElementEventMap>(name: K, heard: (event: HTMLElementEventMap[K]) => void): void =>
      stage.addEventListener(name, heard, { signal, passive: false });
    on('pointerdown', event => this.down(event));
    on('pointermove', event => this.move(event));
    on('pointerup', event => this.up(event));
    on('pointercancel', event => this.lost(event));
    on('lostpointercapture', event => this.lost(event));
    on('pointerleave', () => this.plot.leave());
    on('wheel', event => this.wheel(event));
    on('dblclick', event => {
      event.preventDefault();
      this.plot.fit();
    });
    // the middle button would scroll the page
    on('mousedown', event => (event.button === 1 ? event.preventDefault() : undefined));
    on('keydown', event => this.key(event));
    on('keyup', event => this.keyUp(event));
    on('blur', () => (this.space = 'up'));
  }

  private place(event: MouseEvent): { x: number; y: number } {
    const { left, top } = this.stage.getBoundingClientRect();
    return { x: event.clientX - left - MARGIN.left, y: event.clientY - top - MARGIN.top };
  }

  private down(event: PointerEvent): void {
    if (event.button !== 0 && event.button !== 1) {
      return;
    }
    const place = this.place(event);
    this.pointers.set(event.pointerId, place);
    try {
      this.stage.setPointerCapture(event.pointerId);
    } catch {
      // a pointer that is gone already, or was made by a test, cannot be held
    }
    if (this.pointers.size === 2) {
      // a second finger turns what the first one began into a pinch
      this.plot.cancel();
      this.gesture = 'pinch';
      return;
    }
    if (this.space === 'down') {
      this.space = 'used';
    }
    const pan = event.button === 1 || this.plot.tool === 'pan' || this.space === 'used';
    this.gesture = pan ? 'pan' : 'outline';
    this.start = place;
    this.moved = false;
    this.way = wayOf(event);
    this.outline = [place.x, place.y];
  }

  private move(event: PointerEvent): void {
    const place = this.place(event);
    const before = this.pointers.get(event.pointerId);
    if (before === undefined) {
      this.plot.hoverAt(place.x, place.y);
      return;
    }
    this.pointers.set(event.pointerId, place);
    if (this.gesture === 'pinch') {
      this.pinch(event.pointerId, before, place);
      return;
    }
    if (!this.moved && Math.hypot(place.x - this.start.x, place.y - this.start.y) < STILL) {
      return;
    }
    this.moved = true;
    this.plot.leave();
    if (this.gesture === 'pan') {
      this.plot.panBy(place.x - before.x, place.y - before.y);
      this.stage.classList.add('nbi-grabbed');
    } else if (this.gesture === 'outline') {
      this.draw(event, place);
      this.outlineSoon();
    }
  }

  private draw(event: PointerEvent, place: { x: number; y: number }): void {
    if (this.plot.tool === 'box') {
      const { x, y } = this.start;
      this.outline = [x, y, place.x, y, place.x, place.y, x, place.y];
      return;
    }
    // a fast hand moves further than a frame shows: the way between belongs to the outline
    const between = typeof event.getCoalescedEvents === 'function' ? event.getCoalescedEvents() : [];
    for (const { x, y } of [...between.map(one => this.place(one)), place]) {
      const [lastX = NaN, lastY = NaN] = this.outline.slice(-2);
      if (Math.hypot(x - lastX, y - lastY) >= 1.5) {
        this.outline.push(x, y);
      }
    }
  }

  private pinch(id: number, before: { x: number; y: number }, place: { x: number; y: number }): void {
    const other = [...this.pointers].find(([pointer]) => pointer !== id)?.[1];
    if (other === undefined) {
      return;
    }
    const apart = (at: { x: number; y: number }): number => Math.max(20, Math.hypot(at.x - other.x, at.y - other.y));
    this.plot.panBy((place.x - before.x) / 2, (place.y - before.y) / 2);
    this.plot.zoomAt((place.x + other.x) / 2, (place.y + other.y) / 2, apart(place) / apart(before));
  }

  private up(event: PointerEvent): void {
    if (!this.pointers.delete(event.pointerId)) {
      return;
    }
    this.stage.classList.remove('nbi-grabbed');
    const { gesture } = this;
    this.gesture = null;
    if (gesture === 'outline' && this.moved) {
      this.plot.outline(this.outline, this.way, true);
    } else if (gesture !== null && gesture !== 'pinch' && !this.moved && event.button === 0) {
      const reach = event.pointerType === 'mouse' ? MOUSE_REACH : FINGER_REACH;
      this.plot.click(this.start.x, this.start.y, this.way, reach);
    }
  }

  private lost(event: PointerEvent): void {
    if (this.pointers.delete(event.pointerId)) {
      this.stage.classList.remove('nbi-grabbed');
      this.gesture = null;
      this.plot.cancel();
    }
  }

  private wheel(event: WheelEvent): void {
    // a wheel that only passes by scrolls the notebook
    if (!event.ctrlKey && !event.metaKey && document.activeElement !== this.stage) {
      return;
    }
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 20 : 1;
    // a touchpad's pinch comes as a wheel with Ctrl, in small steps
    const speed = event.ctrlKey ? 0.01 : 0.0016;
    const { x, y } = this.place(event);
    this.plot.zoomAt(x, y, Math.exp(-Math.max(-600, Math.min(600, event.deltaY * lines)) * speed));
  }

  private key(event: KeyboardEvent): void {
    if (this.act(event)) {
      event.preventDefault();
      event.stopPropagation();
    }
  }

  /** Do what a key says; false where it says nothing here. */
  private act(event: KeyboardEvent): boolean {
    const { plot } = this;
    const key = event.key.toLowerCase();
    if (event.ctrlKey || event.metaKey) {
      if (key === 'a' && !event.shiftKey && !event.altKey) {
        plot.all();
        return true;
      }
      return false;
    }
    const arrow = ARROWS[event.key];
    const tool = TOOLS[key];
    if (arrow !== undefined) {
      plot.step(...arrow);
    } else if (tool !== undefined) {
      plot.tool = tool;
    } else if (key === '+' || key === '=') {
      plot.zoomAt(NaN, NaN, KEY_ZOOM);
    } else if (key === '-' || key === '_') {
      plot.zoomAt(NaN, NaN, 1 / KEY_ZOOM);
    } else if (key === '0') {
      plot.fit();
    } else if (key === 'escape') {
      // the first Escape lets go of what is being drawn, the next one of what is picked
      if (this.gesture !== null) {
        this.gesture = null;
        this.pointers.clear();
        plot.cancel();
      } else {
        plot.clear();
      }
    } else if (key === ' ') {
      this.space = this.space === 'up' ? 'down' : this.space;
    } else if (key === 'enter' && !event.shiftKey) {
      return plot.pickCursor(wayOf(event));
    } else {
      return false;
    }
    return true;
  }

  private keyUp(event: KeyboardEvent): void {
    if (event.key === ' ') {
      // a space bar that held the plot while it was dragged picks nothing
      if (this.space === 'down') {
        this.plot.pickCursor(wayOf(event));
      }
      this.space = 'up';
      event.preventDefault();
      event.stopPropagation();
    }
  }
}

function wayOf(event: MouseEvent | KeyboardEvent): Way {
  return event.altKey ? 'remove' : event.shiftKey ? 'add' : 'replace';
}
