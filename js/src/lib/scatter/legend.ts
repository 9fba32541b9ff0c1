/** What the colours and shapes mean; a click on a label picks its rows. */

import { codesOf, gradient, legendEntries, type LegendEntry, type Shape } from '../colours';
import { html, svg } from '../elements';
import type { Column } from '../protocol';
import { has, NOTHING, type Bits } from '../selection';
import { onThemeChange } from '../theme';
import { visible, writeToken } from '../tokens';
import { combine } from './lasso';
import { format, roundStep } from './ticks';

/** More labels than these are not listed at once. */
const MOST = 60;

/** The outlines of the shapes, about 11 units wide, around 0. */
export const MARKS: Readonly<Record<Shape, string>> = {
  circle: 'M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0',
  square: 'M-4.5 -4.5h9v9h-9z',
  triangle: 'M0 -5.5L5.5 4h-11z',
  diamond: 'M0 -6L6 0L0 6L-6 0z',
  plus: 'M-1.8 -5.5h3.6v3.7h3.7v3.6h-3.7v3.7h-3.6v-3.7h-3.7v-3.6h3.7z',
  wedge: 'M0 5.5L5.5 -4h-11z',
  cross: 'M-5 -2.5L-2.5 -5L0 -2.5L2.5 -5L5 -2.5L2.5 0L5 2.5L2.5 5L0 2.5L-2.5 5L-5 2.5L-2.5 0z'
};

interface Line {
  entry: LegendEntry;
  button: HTMLButtonElement;
  amount: HTMLElement;
  total: number;
}

export class Legend {
  readonly element = html('div', { class: 'nbi-legend' });

  private column: Column | null = null;
  private codes: Uint8Array | Uint16Array | Uint32Array = NOTHING;
  private lines: Line[] = [];
  private selected: Bits = NOTHING;
  private everything = false;

  constructor(
    private readonly pick: (bits: Bits) => void,
    private readonly signal: AbortSignal
  ) {
    onThemeChange(() => this.build(), signal);
    this.build();
  }

  update(column: Column | null, selected: Bits): void {
    if (column !== this.column) {
      this.column = column;
      this.everything = false;
      this.codes = column?.kind === 'label' ? codesOf(column) : NOTHING;
      this.build();
    }
    if (selected !== this.selected) {
      this.selected = selected;
      this.count();
    }
  }

  private build(): void {
    const { column } = this;
    this.lines = [];
    this.element.hidden = column === null;
    if (column === null) {
      this.element.replaceChildren();
      return;
    }
    const title = html('p', { class: 'nbi-legend-title' });
    writeToken(title, column.name);
    this.element.replaceChildren(title, ...(column.kind === 'number' ? this.scale(column) : this.labels(column)));
    this.count();
  }

  private scale(column: Column): Node[] {
    const step = roundStep(column.low, column.high, 100);
    const text = (value: number): string => (column.high > column.low ? format(value, step) : String(value));
    const ramp = html('div', { class: 'nbi-ramp', style: `background: ${gradient(column)}` });
    const ends = [column.low, (column.low + column.high) / 2, column.high].map(value => html('span', {}, text(value)));
    return [ramp, html('div', { class: 'nbi-ramp-ends' }, ...ends)];
  }

  private labels(column: Column): Node[] {
    const totals = new Uint32Array(column.levels.length);
    for (const code of this.codes) {
      if (code < totals.length) {
        totals[code] = (totals[code] ?? 0) + 1;
      }
    }
    const entries = legendEntries(column);
    const shown = this.everything ? entries : entries.slice(0, MOST);
    const list = html('div', {
      class: 'nbi-legend-lines',
      role: 'group',
      'aria-label': `Labels of ${visible(column.name)}`
    });
    this.lines = shown.map(entry => this.line(entry, totals[entry.code] ?? 0));
    list.append(...this.lines.map(line => line.button));
    if (shown.length < entries.length) {
      const more = html('button', { type: 'button', class: 'nbi-legend-more' }, `… ${entries.length - MOST} more`);
      more.addEventListener(
        'click',
        () => {
          this.everything = true;
          this.build();
        },
        { signal: this.signal }
      );
      list.append(more);
    }
    return [list];
  }

  private line(entry: LegendEntry, total: number): Line {
    const mark = svg('path', { d: MARKS[entry.shape], fill: entry.colour });
    const name = html('span', { class: 'nbi-legend-name' });
    writeToken(name, entry.text);
    const amount = html('span', { class: 'nbi-legend-amount' });
    const button = html(
      'button',
      { type: 'button', class: 'nbi-legend-line', title: 'Pick its rows; Shift adds them, Alt takes them away' },
      svg('svg', { viewBox: '-7 -7 14 14', 'aria-hidden': 'true' }, mark),
      name,
      amount
    );
    button.addEventListener(
      'click',
      event => {
        const way = event.altKey ? 'remove' : event.shiftKey ? 'add' : 'replace';
        const fresh = this.rowsOf(entry.code);
        // what is picked alone already is let go
        const again = way === 'replace' && button.getAttribute('aria-pressed') === 'true';
        this.pick(again ? NOTHING : combine(this.selected, fresh, way));
      },
      { signal: this.signal }
    );
    return { entry, button, amount, total };
  }

  private rowsOf(code: number): Bits {
    const bits = new Uint8Array((this.codes.length + 7) >> 3);
    for (let row = 0; row < this.codes.length; row += 1) {
      if (this.codes[row] === code) {
        bits[row >> 3] = (bits[row >> 3] ?? 0) | (1 << (row & 7));
      }
    }
    return bits;
  }

  /** Say of each label how many of its rows are picked. */
  private count(): void {
    const picked = new Uint32Array(this.column?.levels.length ?? 0);
    let others = 0;
    if (this.selected.length > 0 && this.lines.length > 0) {
      for (let row = 0; row < this.codes.length; row += 1) {
        if (has(this.selected, row)) {
          const code = this.codes[row] ?? picked.length;
          if (code < picked.length) {
            picked[code] = (picked[code] ?? 0) + 1;
          } else {
            others += 1;
          }
        }
      }
    }
    const sum = picked.reduce((a, b) => a + b, others);
    for (const { entry, button, amount, total } of this.lines) {
      const here = picked[entry.code] ?? 0;
      const all = total.toLocaleString('en');
      amount.textContent = sum === 0 ? all : `${here.toLocaleString('en')} of ${all}`;
      button.classList.toggle('nbi-none', sum > 0 && here === 0);
      button.setAttribute('aria-pressed', String(sum > 0 && here === total && here === sum));
    }
  }
}
