/** The list of what can be added: grouped by kind, searchable. */

import { iconButton, placePopup } from '../../lib/controls';
import { freshId, html } from '../../lib/elements';
import type { Recipe } from '../../lib/protocol';
import { visible } from '../../lib/tokens';

/** The recipes that fit what was typed: every word has to occur. */
export function fitting(recipes: readonly Recipe[], typed: string): Recipe[] {
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
  return recipes.filter(({ kind, name, statement, components }) => {
    const text = [kind, name, statement, ...components].join(' ').toLowerCase();
    return words.every(word => text.includes(word));
  });
}

/** The recipes by kind; what was found, somebody's own direction or plane, comes before what is always there. */
export function byKind(recipes: readonly Recipe[]): [kind: string, recipes: Recipe[]][] {
  const groups = new Map<string, Recipe[]>();
  for (const recipe of [...recipes].sort((a, b) => Number(b.found >= 0) - Number(a.found >= 0))) {
    groups.set(recipe.kind, [...(groups.get(recipe.kind) ?? []), recipe]);
  }
  return [...groups];
}

export class AddButton {
  readonly element = html('div', { class: 'nbi-add' });

  private readonly button: HTMLButtonElement;
  private readonly popup: HTMLElement;
  private readonly search: HTMLInputElement;
  private readonly list: HTMLElement;
  private readonly where = html('p', { class: 'nbi-add-where' });
  private readonly id = freshId('add');
  private recipes: readonly Recipe[] = [];
  private shown: Recipe[] = [];
  private at = 0;

  constructor(
    private readonly add: (recipe: Recipe) => void,
    signal: AbortSignal
  ) {
    this.button = iconButton('add', 'Add', signal, () => this.open());
    this.button.setAttribute('aria-haspopup', 'listbox');
    this.button.setAttribute('aria-expanded', 'false');
    const list = `${this.id}-list`;
    this.search = html('input', {
      ...{ type: 'search', class: 'nbi-field', placeholder: 'search…', role: 'combobox', autocomplete: 'off' },
      ...{ 'aria-label': 'Search interventions', 'aria-expanded': 'true', 'aria-controls': list }
    });
    this.list = html('div', {
      class: 'nbi-add-list',
      role: 'listbox',
      id: list,
      'aria-label': 'Interventions',
      tabindex: -1
    });
    this.popup = html('div', { class: 'nbi-menu nbi-add-popup', popover: 'auto' }, this.search, this.where, this.list);
    const listen = { signal };
    this.search.addEventListener('input', () => this.fill(), listen);
    this.popup.addEventListener('keydown', event => this.onKey(event), listen);
    this.popup.addEventListener(
      'toggle',
      () => this.button.setAttribute('aria-expanded', String(this.popup.matches(':popover-open'))),
      listen
    );
    this.list.addEventListener(
      'click',
      event => {
        const option = (event.target as Element).closest<HTMLElement>('[role=option]');
        this.take(this.shown[Number(option?.dataset.index ?? -1)]);
      },
      listen
    );
    this.element.append(this.button, this.popup);
  }

  update(recipes: readonly Recipe[], where: string, still: boolean): void {
    this.recipes = recipes;
    this.where.textContent = where;
    this.button.disabled = still || recipes.length === 0;
    this.element.hidden = still;
  }

  focus(): void {
    this.button.focus();
  }

  private open(): void {
    this.search.value = '';
    this.popup.showPopover();
    // what is not shown cannot be scrolled, and keeps the place where it was left
    this.fill();
    placePopup(this.popup, this.button);
    this.search.focus({ preventScroll: true });
  }

  private fill(): void {
    this.shown = byKind(fitting(this.recipes, this.search.value)).flatMap(([, recipes]) => recipes);
    let index = 0;
    const groups = byKind(this.shown).map(([kind, recipes], group) => {
      const label = `${this.id}-group-${group}`;
      const heading = html('div', { class: 'nbi-add-kind', id: label, role: 'presentation' }, visible(kind));
      const options = recipes.map(recipe => this.option(recipe, index++));
      return html('div', { role: 'group', 'aria-labelledby': label }, heading, ...options);
    });
    const nothing = html('p', { class: 'nbi-add-nothing' }, 'Nothing is called that.');
    this.list.replaceChildren(...(groups.length > 0 ? groups : [nothing]));
    this.goTo(0);
  }

  private option(recipe: Recipe, index: number): HTMLElement {
    const site = recipe.found >= 0 ? `found at layer ${recipe.found}` : '';
    return html(
      'div',
      {
        role: 'option',
        class: 'nbi-add-option',
        id: `${this.id}-${index}`,
        'data-index': index,
        'aria-selected': 'false'
      },
      html('span', { class: 'nbi-add-name' }, visible(recipe.name)),
      html('span', { class: 'nbi-add-site' }, site),
      html('span', { class: 'nbi-add-statement' }, recipe.statement === '' ? '' : visible(recipe.statement))
    );
  }

  private goTo(index: number): void {
    const options = [...this.list.querySelectorAll<HTMLElement>('[role=option]')];
    this.at = Math.max(0, Math.min(options.length - 1, index));
    options.forEach((option, at) => option.setAttribute('aria-selected', String(at === this.at)));
    const option = options[this.at];
    if (option === undefined) {
      this.search.removeAttribute('aria-activedescendant');
    } else {
      this.search.setAttribute('aria-activedescendant', option.id);
      // the first one is seen with the name of its group
      (this.at === 0 ? option.parentElement : option)?.scrollIntoView({ block: 'nearest' });
    }
  }

  private take(recipe: Recipe | undefined): void {
    if (recipe !== undefined) {
      this.popup.hidePopover();
      this.add(recipe);
    }
  }

  private onKey(event: KeyboardEvent): void {
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      this.goTo(this.at + (event.key === 'ArrowDown' ? 1 : -1));
    } else if (event.key === 'Enter') {
      this.take(this.shown[this.at]);
    } else if (event.key === 'Escape') {
      this.popup.hidePopover();
      this.button.focus();
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }
}
