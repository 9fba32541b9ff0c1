/** What the model is given: a text or a chat, its tokens to pick from, and the layers. */

import { iconButton } from '../../lib/controls';
import { html } from '../../lib/elements';
import { Keyed } from '../../lib/keyed';
import type { Turn } from '../../lib/protocol';
import { afterQuiet } from '../../lib/timing';
import { visible, writeToken } from '../../lib/tokens';
import { addTurn, asChat, changePrompt, changeTurn, removeTurn } from './edits';
import type { Hand } from './hand';
import type { Moment } from './moment';
import { readPlace, writePlace } from './places';
import { Strip, type StripItem } from './strip';

const PAUSE = 400;
const ROLES = ['system', 'user', 'assistant'];

/** A text that grows with what is in it, and tells of it after a pause, at Enter, or when it is left. */
class Writing {
  readonly element: HTMLTextAreaElement;
  private told = '';

  constructor(label: string, signal: AbortSignal, changed: (text: string) => void) {
    this.element = html('textarea', { class: 'nbi-writing', rows: 1, spellcheck: 'false', 'aria-label': label });
    const tell = (): void => {
      if (this.element.value !== this.told) {
        this.told = this.element.value;
        changed(this.told);
      }
    };
    const tellSoon = afterQuiet(tell, PAUSE, signal);
    const listen = { signal };
    this.element.addEventListener('input', tellSoon, listen);
    this.element.addEventListener('input', () => this.grow(), listen);
    this.element.addEventListener('blur', tell, listen);
    this.element.addEventListener(
      'keydown',
      event => {
        if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
          event.preventDefault();
          tell();
        }
      },
      listen
    );
  }

  /** Show a text, unless somebody is in the middle of writing another one. */
  show(text: string): void {
    const unsaid = this.element.value !== this.told && this.element.matches(':focus');
    if (text !== this.told && !unsaid) {
      this.told = text;
      this.element.value = text;
      this.grow();
    }
  }

  grow(): void {
    this.element.style.height = 'auto';
    this.element.style.height = `${Math.min(240, this.element.scrollHeight + 2)}px`;
  }
}

interface TurnView {
  element: HTMLElement;
  role: HTMLSelectElement;
  writing: Writing;
  index: number;
}

export class Prompt {
  readonly element = html('section', { class: 'nbi-prompt', role: 'group', 'aria-label': 'Prompt' });

  private readonly writing: Writing;
  private readonly chat = html('div', { class: 'nbi-chat' });
  private readonly turns: Keyed<Turn, TurnView>;
  private readonly add: HTMLButtonElement;
  private readonly chatButton: HTMLButtonElement;
  private readonly tokens: Strip;
  private readonly layers: Strip;
  private readonly picked = html('span', { class: 'nbi-picked-words', 'aria-live': 'polite' });
  private readonly layerLine = html('div', { class: 'nbi-strip-line' });
  private drawn: unknown[] = [];

  constructor(
    private readonly hand: Hand,
    private readonly signal: AbortSignal
  ) {
    this.writing = new Writing('Prompt', signal, text => hand.edit(changePrompt(text)));
    this.turns = new Keyed(
      html('div', { class: 'nbi-turns' }),
      (_, index) => String(index),
      () => this.turn(),
      (view, turn, index) => this.writeTurn(view, turn, index)
    );
    this.add = iconButton('add', 'Message', signal, () => {
      hand.edit(addTurn());
      this.chat.querySelector<HTMLElement>('.nbi-turn:last-child textarea')?.focus();
    });
    this.chatButton = iconButton('chat', 'Chat', signal, () => hand.edit(asChat(hand.setting.chat.length === 0)));
    this.chatButton.setAttribute('aria-pressed', 'false');
    this.chat.append(this.turns.parent, this.add);
    this.tokens = new Strip('Tokens of the prompt', 'nbi-tokens', tokens => hand.pick({ tokens }), signal);
    this.layers = new Strip('Layers', 'nbi-layers', layers => hand.pick({ layers }), signal);
    const words = (text: string): HTMLElement => html('span', { class: 'nbi-strip-name', 'aria-hidden': 'true' }, text);
    this.layerLine.append(words('layers'), this.layers.element);
    this.element.append(
      html('div', { class: 'nbi-prompt-line' }, this.writing.element, this.chat, this.chatButton),
      html('div', { class: 'nbi-strip-line' }, words('tokens'), this.tokens.element),
      this.layerLine,
      this.picked
    );
  }

  /** The text has another width: it may need more lines, or fewer. */
  resize(): void {
    this.writing.grow();
    this.turns.all().forEach(turn => turn.writing.grow());
  }

  update(moment: Moment): void {
    const { setting, answer, picks, spec, still } = moment;
    const isChat = setting.chat.length > 0;
    this.writing.element.hidden = isChat;
    this.writing.element.readOnly = still;
    this.writing.show(setting.prompt);
    this.chat.hidden = !isChat;
    this.chatButton.hidden = still || !(spec.chat || isChat);
    this.chatButton.setAttribute('aria-pressed', String(isChat));
    this.add.hidden = still;
    this.turns.update(setting.chat);
    this.turns.all().forEach(({ role, writing }) => {
      role.disabled = still;
      writing.element.readOnly = still;
    });

    // a slider that moves changes none of this
    const acting = setting.acts.map(({ id, on, layer, component, tokens }) => [
      ...[id === setting.hand, on, layer, component, tokens]
    ]);
    const tokens = answer?.tokens.join('\0');
    const inputs = [tokens, JSON.stringify(acting), picks.tokens.join(), picks.layers.join(), spec, still];
    if (inputs.every((input, index) => input === this.drawn[index]) && this.drawn.length > 0) {
      return;
    }
    this.drawn = inputs;
    this.tokens.update(this.tokenItems(moment), picks.tokens, false);
    this.layers.update(layerItems(moment), picks.layers, false);
    this.element.classList.toggle('nbi-many-layers', spec.n_layers > 40);
    this.layerLine.hidden = spec.n_layers === 0;
    const parts = [
      ...(picks.tokens.length > 0 ? [`${plural(picks.tokens.length, 'token')} (${writePlace(picks.tokens)})`] : []),
      ...(picks.layers.length > 0 ? [`${plural(picks.layers.length, 'layer')} (${writePlace(picks.layers)})`] : [])
    ];
    const words = still
      ? ''
      : parts.length === 0
        ? 'Pick tokens and a layer: what you add next acts there.'
        : `Picked ${parts.join(' and ')}: what you add next acts there.`;
    if (this.picked.textContent !== words) {
      this.picked.textContent = words;
    }
  }

  private tokenItems({ answer, setting }: Moment): StripItem[] {
    const tokens = answer?.tokens ?? [];
    const act = setting.acts.find(one => one.id === setting.hand);
    const marked = new Set(act?.on === true ? readPlace(act.tokens, tokens) : []);
    return tokens.map((token, index) => ({
      text: token,
      label: `token ${index}: ${visible(cut(token))}`,
      marked: marked.has(index),
      write: cell => writeToken(cell, cut(token))
    }));
  }

  private turn(): TurnView {
    const view: Partial<TurnView> = { index: 0 };
    const at = (): number => view.index ?? 0;
    const { hand, signal } = this;
    const role = html('select', { class: 'nbi-select', 'aria-label': 'Who speaks' });
    role.append(...ROLES.map(name => html('option', { value: name }, name)));
    role.addEventListener('change', () => hand.edit(changeTurn(at(), { role: role.value })), { signal });
    const writing = new Writing('Message', signal, content => hand.edit(changeTurn(at(), { content })));
    const remove = iconButton('close', 'Remove this message', signal, () => hand.edit(removeTurn(at())), {
      bare: true
    });
    const element = html('div', { class: 'nbi-turn' }, role, writing.element, remove);
    return Object.assign(view, { element, role, writing }) as TurnView;
  }

  private writeTurn(view: TurnView, turn: Turn, index: number): void {
    view.index = index;
    if (!ROLES.includes(turn.role) && ![...view.role.options].some(option => option.value === turn.role)) {
      view.role.append(html('option', { value: turn.role }, turn.role));
    }
    view.role.value = turn.role;
    view.writing.show(turn.content);
  }
}

/** A token as long as a chip can show. */
function cut(token: string): string {
  return token.length > 80 ? `${token.slice(0, 80)}…` : token;
}

function plural(n: number, word: string): string {
  return `${n} ${word}${n === 1 ? '' : 's'}`;
}

function layerItems({ spec, setting }: Moment): StripItem[] {
  const acting = new Map<number, string[]>();
  for (const act of setting.acts.filter(one => one.on && one.layer >= 0)) {
    acting.set(act.layer, [...(acting.get(act.layer) ?? []), act.component]);
  }
  return Array.from({ length: spec.n_layers }, (_, layer) => {
    const there = acting.get(layer);
    const label = `layer ${layer}${there === undefined ? '' : `, acted on at ${there.join(', ')}`}`;
    return {
      text: label,
      label,
      marked: there !== undefined,
      write: cell => cell.replaceChildren(String(layer))
    };
  });
}
