/** The prompt as a line of tokens: lit by how much the token under the hand looks at each. */

import { html } from '../../lib/elements';
import { Colours, inCell, short, type Heat } from '../../lib/grid/heat';
import { isDark } from '../../lib/theme';
import { visible, writeToken } from '../../lib/tokens';

const LONGEST = 40;

export class TokenStrip {
  readonly element = html('div', { class: 'nbi-attention-strip', role: 'group', 'aria-label': 'Tokens' });

  private readonly chips: HTMLButtonElement[] = [];

  constructor(
    tokens: readonly string[],
    /** A token under the hand, or none. */
    hover: (token: number | null) => void,
    pick: (token: number, add: boolean) => void,
    signal: AbortSignal
  ) {
    tokens.forEach((token, at) => {
      const chip = html('button', { type: 'button', class: 'nbi-attention-token', tabindex: at === 0 ? 0 : -1 });
      writeToken(chip, token.length > LONGEST ? `${token.slice(0, LONGEST)}…` : token);
      chip.title = `token ${at}`;
      this.chips.push(chip);
    });
    this.element.append(...this.chips);
    const chipAt = (event: Event): number => this.chips.findIndex(chip => chip.contains(event.target as Node));
    const listen = { signal };
    this.element.addEventListener('pointerover', event => hover(numberOrNull(chipAt(event))), listen);
    this.element.addEventListener('pointerleave', () => hover(null), listen);
    this.element.addEventListener('focusin', event => hover(numberOrNull(chipAt(event))), listen);
    this.element.addEventListener('focusout', () => hover(null), listen);
    this.element.addEventListener(
      'click',
      event => {
        const token = chipAt(event);
        if (token >= 0) {
          pick(token, event.ctrlKey || event.metaKey || event.shiftKey);
        }
      },
      listen
    );
    // one stop for the Tab key, arrows from token to token
    this.element.addEventListener(
      'keydown',
      event => {
        const from = chipAt(event);
        const moves: Record<string, number> = {
          ArrowRight: from + 1,
          ArrowLeft: from - 1,
          Home: 0,
          End: this.chips.length - 1
        };
        const to = moves[event.key];
        const next = to === undefined ? undefined : this.chips[to];
        if (from >= 0 && next !== undefined) {
          event.preventDefault();
          this.chips.forEach(chip => (chip.tabIndex = chip === next ? 0 : -1));
          next.focus();
        }
      },
      listen
    );
  }

  mark(picked: readonly number[]): void {
    const chosen = new Set(picked);
    this.chips.forEach((chip, at) => chip.setAttribute('aria-pressed', String(chosen.has(at))));
  }

  /** Light the tokens that a query looks at; null for none. */
  light(query: number | null, weights: ArrayLike<number> | null, heat: Heat): void {
    const colours = new Colours(heat, isDark());
    this.chips.forEach((chip, at) => {
      const weight = weights?.[at] ?? NaN;
      const lit = query !== null && !Number.isNaN(weight);
      const colour = lit ? colours.css(weight) : '';
      if (chip.style.backgroundColor !== colour) {
        chip.style.backgroundColor = colour;
        chip.style.color = lit ? colours.ink(weight) : '';
      }
      chip.classList.toggle('nbi-query', at === query);
      chip.title = lit ? `token ${at}: ${inCell(weight, heat)}` : `token ${at}`;
    });
  }
}

function numberOrNull(at: number): number | null {
  return at < 0 ? null : at;
}

/** What a query looks at most, in words. */
export function mostOf(tokens: readonly string[], query: number, weights: ArrayLike<number>): string {
  const order = Array.from(weights)
    .map((weight, key) => ({ weight, key }))
    .filter(({ weight }) => Math.abs(weight) > 0)
    .sort((a, b) => Math.abs(b.weight) - Math.abs(a.weight))
    .slice(0, 3);
  const name = (at: number): string => `${at} “${visible((tokens[at] ?? '').slice(0, 30))}”`;
  const parts = order.map(({ weight, key }) => `${name(key)} ${short(Number(weight.toPrecision(2)))}`);
  return `token ${name(query)} looks at ${parts.length === 0 ? 'nothing' : parts.join(', ')}`;
}
