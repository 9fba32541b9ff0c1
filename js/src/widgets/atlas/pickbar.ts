/** What is picked, in words, and what can be made of it. */

import { html } from '../../lib/elements';
import type { Claim, Column } from '../../lib/protocol';
import { count, NOTHING, type Bits } from '../../lib/selection';
import { visible } from '../../lib/tokens';
import { afterQuiet } from '../../lib/timing';
import { inverted } from './bits';
import { Choice } from './choice';
import { codesOf } from './columns';
import { shared } from './sharing';
import { Memo, type Hand } from './traits';
import { cut, rows, whole } from './words';

export type Kind = Claim['kind'];

/** Fewest picked rows, and fewest others, that each kind can be made of. */
export const LEAST: Readonly<Record<Kind, { picked: number; others: number }>> = {
  direction: { picked: 2, others: 1 },
  plane: { picked: 3, others: 0 },
  circle: { picked: 3, others: 0 }
};

/** Why a kind cannot be made of what is picked; empty where it can. */
export function refusal(kind: Kind, picked: number, n: number, labels: number): string {
  const { picked: least, others } = LEAST[kind];
  if (picked < least) {
    return picked === 0
      ? `pick rows first: a ${kind} needs ${least} or more`
      : `a ${kind} needs ${least} picked rows or more`;
  }
  if (n - picked < others) {
    return `a ${kind} needs rows that are not picked, to compare with`;
  }
  return kind === 'circle' && labels < 3
    ? 'a circle needs 3 labels or more among the picked rows: choose another column'
    : '';
}

/** How many labels of a column there are among picked rows. */
export function labelsAmong(column: Column, picked: Bits): number {
  const codes = codesOf(column);
  const seen = new Uint8Array(column.levels.length);
  let number = 0;
  for (let byte = 0; byte < picked.length && number < seen.length; byte += 1) {
    for (let bits = picked[byte] ?? 0, row = byte * 8; bits !== 0; bits >>= 1, row += 1) {
      const code = (bits & 1) === 1 ? (codes[row] ?? seen.length) : seen.length;
      if (code < seen.length && seen[code] === 0) {
        seen[code] = 1;
        number += 1;
      }
    }
  }
  return number;
}

export class PickBar {
  readonly element = html('div', { class: 'atlas-pickbar', role: 'group', 'aria-label': 'Picked rows' });

  private readonly counted = html('strong', { class: 'atlas-counted' });
  private readonly sharing = html('span', { class: 'atlas-sharing' });
  private readonly reason = html('p', { class: 'atlas-reason' });
  private readonly announcer = html('p', { class: 'nbi-hidden', 'aria-live': 'polite' });
  private readonly makers: Record<Kind, HTMLButtonElement>;
  private readonly along: Choice;
  private readonly clear: HTMLButtonElement;
  private readonly invert: HTMLButtonElement;
  private readonly announce: () => void;
  private readonly memo = new Memo();
  private picked: Bits = NOTHING;
  private column: string | null = null;
  private columns: readonly Column[] = [];

  constructor(
    private readonly n: number,
    hand: Hand,
    make: (kind: Kind, column: string) => void,
    still: boolean,
    signal: AbortSignal
  ) {
    this.announce = afterQuiet(
      () => {
        this.announcer.textContent = `${this.counted.textContent} ${this.sharing.textContent}`;
      },
      600,
      signal
    );
    const maker = (kind: Kind, words: string, title: string): HTMLButtonElement => {
      const button = html('button', { type: 'button', class: 'nbi-button', title }, words);
      // a button that says why it does nothing can be reached, unlike a disabled one
      button.addEventListener(
        'click',
        () => {
          if (button.getAttribute('aria-disabled') !== 'true') {
            make(kind, kind === 'circle' ? this.along.value : '');
          } else {
            this.reason.textContent = button.title;
          }
        },
        { signal }
      );
      return button;
    };
    this.makers = {
      direction: maker('direction', 'Direction', 'the difference of the means of the picked and the other rows'),
      plane: maker('plane', 'Plane', 'the plane in which the picked rows vary most'),
      circle: maker('circle', 'Circle', 'a circle through the means of labels')
    };
    this.along = new Choice(
      'by',
      'by which labels',
      value => {
        this.column = value;
        this.redraw();
      },
      signal
    );
    this.clear = html('button', { type: 'button', class: 'nbi-button' }, 'Clear');
    this.clear.addEventListener('click', () => hand.pick(NOTHING), { signal });
    this.invert = html('button', { type: 'button', class: 'nbi-button' }, 'Invert');
    this.invert.addEventListener('click', () => hand.pick(inverted(this.picked, n)), { signal });
    const made = html(
      'span',
      { class: 'atlas-makers', role: 'group', 'aria-label': 'Make of the picked rows' },
      html('span', { class: 'atlas-makers-label' }, 'make a'),
      this.makers.direction,
      this.makers.plane,
      html('span', { class: 'atlas-circle' }, this.makers.circle, this.along.element)
    );
    made.hidden = still;
    this.element.append(
      html('p', { class: 'atlas-picked' }, this.counted, ' ', this.sharing),
      html('span', { class: 'atlas-pick-tools' }, this.clear, this.invert),
      made,
      this.reason,
      this.announcer
    );
  }

  update(picked: Bits, colour: Column | null, columns: readonly Column[]): void {
    if (!this.memo.changed(picked, colour, columns)) {
      return;
    }
    const other = picked !== this.picked;
    this.picked = picked;
    this.columns = columns.filter(column => column.kind === 'label' && column.levels.length >= 3);
    const number = count(picked);
    this.counted.textContent =
      number === 0 ? `${rows(this.n)}, none picked` : `${whole(number)} of ${rows(this.n)} picked`;
    const sharing = colour === null || number === 0 ? '' : shared(colour, picked);
    this.sharing.textContent = sharing === '' || colour === null ? '' : `${sharing} (${cut(visible(colour.name), 24)})`;
    if (other) {
      this.announce();
    }
    const labelled = this.columns.map(column => ({ value: column.name, text: column.name }));
    const options = [...labelled, { value: '', text: 'no labels' }];
    const known = options.find(option => option.value === this.column)?.value;
    const usual = this.columns.find(column => column === colour) ?? this.columns.find(column => column.cyclic);
    this.along.update(options, known ?? (usual ?? this.columns[0])?.name ?? '');
    this.redraw();
  }

  private redraw(): void {
    const number = count(this.picked);
    const column = this.columns.find(one => one.name === this.along.value);
    // without labels the loop is looked for in the rows themselves
    const labels = column === undefined ? Infinity : labelsAmong(column, this.picked);
    const reasons = Object.entries(this.makers).map(([kind, button]) => {
      const why = refusal(kind as Kind, number, this.n, labels);
      button.setAttribute('aria-disabled', String(why !== ''));
      button.title = why === '' ? WHAT[kind as Kind] : why;
      return why;
    });
    this.reason.textContent = number > 0 ? (reasons.find(why => why !== '') ?? '') : '';
    this.clear.disabled = number === 0;
    this.invert.disabled = number === 0;
  }
}

const WHAT: Readonly<Record<Kind, string>> = {
  direction:
    'the difference of the means of the picked and the other rows, and how well it separates rows that were held out',
  plane: 'the plane in which the picked rows vary most',
  circle: 'a circle through the means of the labels of a column, or the loop of the rows themselves'
};
