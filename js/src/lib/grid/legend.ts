/** What the colours of a grid mean: the scale with its ends and unit, and where the cell under the hand lies on it. */

import { html } from '../elements';
import { isDark, onThemeChange } from '../theme';
import { Colours, short, signed, type Heat } from './heat';

export class HeatLegend {
  readonly element = html('div', { class: 'nbi-heat-legend' });

  private readonly ramp = html('div', { class: 'nbi-heat-ramp', 'aria-hidden': 'true' });
  private readonly at = html('div', { class: 'nbi-heat-at', hidden: '' });
  private readonly low = html('span');
  private readonly high = html('span');
  private readonly name = html('span');
  private heat: Heat | null = null;

  constructor(signal: AbortSignal) {
    this.ramp.append(this.at);
    this.element.append(this.name, this.low, this.ramp, this.high);
    onThemeChange(() => this.paint(), signal);
  }

  show(heat: Heat, name: string, unit: string): void {
    this.heat = heat;
    this.name.textContent = unit === '' ? name : `${name} (${unit})`;
    const number = heat.kind === 'diverging' ? signed : short;
    this.low.textContent = number(heat.low);
    this.high.textContent = number(heat.high);
    this.paint();
  }

  /** Mark a value on the scale; NaN marks none. */
  mark(value: number): void {
    this.at.hidden = this.heat === null || Number.isNaN(value);
    if (this.heat !== null) {
      this.at.style.left = `${100 * new Colours(this.heat, false).share(value)}%`;
    }
  }

  private paint(): void {
    if (this.heat !== null) {
      this.ramp.style.background = new Colours(this.heat, isDark()).gradient();
    }
  }
}
