/** What a row is, beside the row. */

import { html } from '../elements';
import { visible } from '../tokens';
import './tooltip.css';

const MOST_LINES = 12;
const MOST_LETTERS = 160;
/** A hand on its way does not ask about every row that it passes. */
const WAIT = 60;

export class Tooltip {
  readonly element = html('div', { class: 'nbi-tooltip', 'aria-hidden': 'true', hidden: '' });
  /** Says the same to those who do not see it. */
  readonly voice = html('p', { class: 'nbi-hidden', 'aria-live': 'polite' });

  private row: number | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly describe: (row: number) => Promise<string[]> | string[],
    signal: AbortSignal
  ) {
    signal.addEventListener('abort', () => clearTimeout(this.timer));
  }

  /** Show what a row is at a place in a stage of a width; nothing where the row is null. */
  show(row: number | null, x: number, y: number, width: number, spoken: boolean): void {
    clearTimeout(this.timer);
    if (row === null) {
      this.row = null;
      this.element.hidden = true;
      return;
    }
    if (row === this.row) {
      this.put(x, y, width);
      return;
    }
    this.row = row;
    this.element.hidden = true;
    this.timer = setTimeout(() => {
      void Promise.resolve(this.describe(row)).then(
        lines => {
          if (this.row === row) {
            this.fill(lines, spoken);
            this.put(x, y, width);
          }
        },
        () => undefined
      );
    }, WAIT);
  }

  private fill(lines: readonly string[], spoken: boolean): void {
    const shown = lines.slice(0, MOST_LINES).map(line => {
      const cut = line.length > MOST_LETTERS ? `${line.slice(0, MOST_LETTERS - 1)}…` : line;
      return cut === '' ? '' : visible(cut);
    });
    this.element.replaceChildren(...shown.map(line => html('p', {}, line)));
    this.element.hidden = shown.length === 0;
    if (spoken) {
      this.voice.textContent = shown.join(', ');
    }
  }

  private put(x: number, y: number, width: number): void {
    const { style, offsetWidth } = this.element;
    style.left = `${Math.max(0, x + 14 + offsetWidth > width ? x - offsetWidth - 14 : x + 14)}px`;
    style.top = `${y + 12}px`;
  }
}
