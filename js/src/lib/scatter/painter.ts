/** How the points are drawn: all of them by the graphics card, or their density while that takes too long for a hand. */

import { html } from '../elements';
import { afterQuiet } from '../timing';
import type { Map2 } from './camera';
import { Density } from './density';
import { Marks, type Scene } from './gl';

export interface Picture extends Scene {
  map: Map2;
  /** Where the rows are now, from `from` to `to` at `t`; only asked for where the processor draws. */
  now: () => Float32Array;
  version: number;
  /** Whether something is moving: the hand, a slider, a selection. */
  moving: boolean;
}

/** Milliseconds that a picture may take while the hand moves: other plots, and the rest of the page, need a frame as well. */
const BUDGET = 12;
/** So few points cost no more than an empty picture: their density would save nothing. */
const FEW = 3000;
/** Milliseconds that a picture may take when it rests. */
const PATIENCE = 2000;
const REST = 280;
/** So many points are drawn before anybody knows how long they take. */
const UNTRIED = 50_000;

export class Painter {
  readonly element = html('div', { class: 'nbi-canvases' });

  private readonly points = html('canvas', { class: 'nbi-points', 'aria-hidden': 'true' });
  private readonly cells = html('canvas', { class: 'nbi-cells', 'aria-hidden': 'true', hidden: '' });
  private readonly marks: Marks;
  private readonly density = new Density();
  private readonly rest: () => void;
  /** What the last pictures took, the newest last. */
  private took: number[] = [];
  private measuring = false;
  private warm = false;
  private rested: boolean;

  /** `again` is called when the picture has to be drawn again, `told` when the note changes. */
  constructor(
    private readonly n: number,
    private readonly again: () => void,
    private readonly told: (note: string) => void,
    signal: AbortSignal
  ) {
    this.element.append(this.points, this.cells);
    // of many points the first look is quick, the second one whole
    this.rested = n <= UNTRIED;
    this.rest = afterQuiet(
      () => {
        this.rested = true;
        again();
      },
      REST,
      signal
    );
    this.marks = new Marks(
      this.points,
      n,
      () => {
        this.say();
        again();
      },
      signal
    );
    signal.addEventListener('abort', () => {
      // a canvas that somebody still holds gives its memory back
      for (const canvas of [this.points, this.cells]) {
        canvas.width = canvas.height = 0;
      }
    });
    this.say();
  }

  /** Milliseconds that all points take to draw; unknown before they were drawn once. */
  get cost(): number | null {
    // whatever else the machine does only makes a picture slower; a single quick one may be luck
    const sorted = [...this.took].sort((a, b) => a - b);
    return sorted[Math.min(1, sorted.length - 1)] ?? null;
  }

  draw(picture: Picture): void {
    if (picture.moving && this.cost !== null) {
      this.rested = false;
    }
    if (!this.rested) {
      this.rest();
    }
    const full = this.marks.alive && this.fullNow();
    this.points.hidden = !full;
    this.cells.hidden = full;
    this.element.dataset.drawn = full ? 'points' : 'density';
    if (full) {
      const began = performance.now();
      this.marks.draw(picture);
      this.measure(began);
    } else {
      this.drawDensity(picture, this.cells);
    }
  }

  /** Draw into a canvas of the plot's size what is seen, with all points where the machine draws them at all. */
  copy(picture: Picture, into: CanvasRenderingContext2D, x: number, y: number): void {
    const full = this.marks.alive && (this.cost ?? 0) <= PATIENCE;
    if (full) {
      this.marks.draw(picture);
    } else {
      this.drawDensity(picture, this.cells);
    }
    // what WebGL drew is only there until this task ends
    into.drawImage(full ? this.points : this.cells, x, y, picture.width, picture.height);
    this.again();
  }

  private fullNow(): boolean {
    const { cost } = this;
    return cost === null ? this.rested : this.quick(cost) || (this.rested && cost <= PATIENCE);
  }

  private quick(cost: number): boolean {
    return cost <= BUDGET || this.n <= FEW;
  }

  private drawDensity(picture: Picture, canvas: HTMLCanvasElement): void {
    this.density.draw(canvas, { ...picture, xy: picture.now(), cell: Math.max(1, Math.round(picture.size)) });
  }

  private measure(began: number): void {
    if (this.measuring) {
      return;
    }
    this.measuring = true;
    this.marks.measure(began, milliseconds => {
      this.measuring = false;
      if (!this.warm) {
        // the first picture has also started the card's programs: it says nothing unless it was quick
        this.warm = true;
        if (!this.quick(milliseconds)) {
          this.again();
          return;
        }
      }
      this.took = [...this.took, milliseconds].slice(-5);
      this.element.dataset.milliseconds = milliseconds.toFixed(1);
      this.say();
    });
  }

  private say(): void {
    const { cost, n } = this;
    const points = `${n.toLocaleString('en')} points`;
    if (!this.marks.alive) {
      this.told(
        'This browser gives no WebGL2 to this plot, so that it shows the density of the points, not each of them.'
      );
    } else if (cost !== null && cost > PATIENCE && !this.quick(cost)) {
      this.told(`This machine takes ${(cost / 1000).toFixed(1)} s to draw ${points}: what you see is their density.`);
    } else if (cost !== null && !this.quick(cost)) {
      this.told(
        `This machine takes ${String(Number(cost.toPrecision(1)))} ms to draw ${points}: while something moves you see their density.`
      );
    } else {
      this.told('');
    }
  }
}
