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

/**
 * A plain key is the widget's: "b" on a hand must not add a cell, and Enter in a text must not run one.
 * Outside of text Shift+Enter and shortcuts go on to JupyterLab.
 */
export function keepFromNotebook(event: KeyboardEvent): void {
  const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
  const ours = isTyping(event.target) ? /^(.|Enter|Tab|Backspace|Delete|Arrow\w+|Page\w+|Home|End|Escape)$/u : OURS;
  if (plain && ours.test(event.key)) {
    event.stopPropagation();
  }
}

const OURS = /^(.|Arrow\w+|Page\w+|Home|End|Escape)$/u;
