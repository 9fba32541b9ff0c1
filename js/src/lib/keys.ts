/** Keys that belong to a widget and not to the notebook around it. */

const TYPED = /^(text|search|number|url|email|password|tel)$/;

/** Whether what a key does there is writing. */
export function isTyping(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLTextAreaElement ||
    (target instanceof HTMLInputElement && TYPED.test(target.type)) ||
    (target instanceof HTMLElement && target.isContentEditable)
  );
}

const TEXT = /^(.|Enter|Tab|Backspace|Delete|Arrow\w+|Page\w+|Home|End|Escape)$/u;
const CONTROL = /^(.|Arrow\w+|Page\w+|Home|End|Escape)$/u;

/** Lumino, on which JupyterLab and Notebook stand, looks for no shortcut of an element that has it. */
const NO_SHORTCUTS = 'data-lm-suppress-shortcuts';

/**
 * Keep plain keys for a widget: "b" on a hand must not add a cell, and Enter in a text must not run one.
 * Outside of text Shift+Enter and shortcuts go on to JupyterLab.
 */
export function keepKeys(root: HTMLElement, signal: AbortSignal): void {
  const keep = (event: KeyboardEvent): void => {
    if (isOurs(event)) {
      event.stopPropagation();
    }
  };
  // Notebook 7 hears keys before the widget does; its shortcuts are meant for the very element that has the focus
  const early = (event: KeyboardEvent): void => {
    const { target } = event;
    if (target instanceof Element && root.contains(target) && isOurs(event)) {
      target.setAttribute(NO_SHORTCUTS, 'true');
      setTimeout(() => target.removeAttribute(NO_SHORTCUTS));
    }
  };
  root.addEventListener('keydown', keep, { signal });
  window.addEventListener('keydown', early, { signal, capture: true });
}

function isOurs(event: KeyboardEvent): boolean {
  const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
  return plain && (isTyping(event.target) ? TEXT : CONTROL).test(event.key);
}
