/** What selections were made into, and how sure each is after all looks that were taken. */

import { iconButton, MenuButton, type MenuItem } from '../../lib/controls';
import { html } from '../../lib/elements';
import type { Claim } from '../../lib/protocol';
import { visible } from '../../lib/tokens';
import { Memo } from './traits';
import { cut, effectOf, rows, sureness, verdictOf, whole } from './words';

const SIGNS: Readonly<Record<Claim['kind'], string>> = { direction: '→', plane: '▱', circle: '◯' };

export interface ClaimHand {
  steer(claim: Claim, how: '' | 'out' | 'keep'): void;
  drop(claim: Claim): void;
}

export class Claims {
  readonly element = html('div', { class: 'atlas-claims' });

  private readonly looks = html('p', { class: 'atlas-looks' });
  private readonly list = html('ul', { class: 'atlas-claim-list', 'aria-label': 'Claims' });
  private readonly empty = html(
    'p',
    { class: 'atlas-empty' },
    'Pick rows, then make a direction, a plane or a circle of them: what it says, and how sure it is, appears here.'
  );
  private readonly memo = new Memo();
  private readonly cards = new Map<string, { claim: Claim; looks: number; element: HTMLElement }>();

  constructor(
    private readonly hand: ClaimHand,
    private readonly options: { steers: boolean; still: boolean },
    private readonly signal: AbortSignal
  ) {
    this.element.append(this.looks, this.list, this.empty);
    this.empty.hidden = options.still;
  }

  update(claims: readonly Claim[], looks: number): void {
    if (!this.memo.changed(claims, looks)) {
      return;
    }
    this.looks.textContent = looks > 0 ? `looks taken: ${whole(looks)}` : '';
    this.looks.title = 'each look is one more chance to find something in noise: p is corrected for all of them';
    this.empty.hidden = claims.length > 0 || this.options.still;
    const kept = new Set(claims.map(claim => claim.id));
    for (const [id, card] of this.cards) {
      if (!kept.has(id)) {
        card.element.remove();
        this.cards.delete(id);
      }
    }
    // the newest first
    [...claims].reverse().forEach((claim, index) => {
      const known = this.cards.get(claim.id);
      const same = known?.looks === looks && JSON.stringify(known.claim) === JSON.stringify(claim);
      const element = same ? known.element : this.card(claim, looks);
      if (!same) {
        known?.element.replaceWith(element);
        this.cards.set(claim.id, { claim, looks, element });
      }
      if (this.list.children[index] !== element) {
        this.list.insertBefore(element, this.list.children[index] ?? null);
      }
    });
  }

  /** What else can be done with what spans a subspace. */
  private others(claim: Claim, name: string): Node[] {
    if (claim.kind === 'circle') {
      return [];
    }
    const items = (): MenuItem[] => [
      { label: 'Take it out', run: () => this.hand.steer(claim, 'out') },
      { label: 'Keep nothing else', run: () => this.hand.steer(claim, 'keep') }
    ];
    return [new MenuButton('more', `More to do with ${name}`, items, this.signal, { bare: true }).element];
  }

  private card(claim: Claim, looks: number): HTMLElement {
    const { sign, words, kind } = verdictOf(claim);
    const sure = sureness(claim, looks);
    const name = cut(visible(claim.name), 60);
    const facts = [sure, effectOf(claim), rows(claim.n_rows), visible(claim.site)];
    const drop = iconButton('close', `Drop ${name}`, this.signal, () => this.hand.drop(claim), { bare: true });
    drop.hidden = this.options.still;
    const element = html(
      'li',
      { class: 'atlas-claim', 'data-claim': claim.id },
      html(
        'div',
        { class: 'atlas-claim-head' },
        html(
          'span',
          { class: 'atlas-kind' },
          html('span', { 'aria-hidden': 'true' }, SIGNS[claim.kind]),
          ` ${claim.kind}`
        ),
        html('strong', { class: 'atlas-claim-name', title: visible(claim.name) }, name),
        drop
      ),
      html('p', { class: 'atlas-statement' }, visible(claim.statement)),
      html(
        'p',
        { class: 'atlas-sure' },
        html(
          'span',
          { class: `atlas-verdict-mark atlas-${kind}` },
          html('span', { 'aria-hidden': 'true' }, sign),
          ` ${words}`
        ),
        html('span', { class: 'atlas-facts' }, facts.filter(text => text !== '').join(' · '))
      )
    );
    if (claim.caveat !== '') {
      element.append(html('p', { class: 'atlas-caveat' }, visible(claim.caveat)));
    }
    if (this.options.steers && !this.options.still) {
      const steer = html(
        'button',
        { type: 'button', class: 'nbi-button' },
        claim.kind === 'circle' ? 'Turn along it' : 'Steer with it'
      );
      steer.setAttribute('aria-label', `${steer.textContent}: ${name}`);
      steer.addEventListener('click', () => this.hand.steer(claim, ''), { signal: this.signal });
      element.append(html('div', { class: 'atlas-claim-foot' }, steer, ...this.others(claim, name)));
    }
    return element;
  }
}
