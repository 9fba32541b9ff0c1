/** What Python and the page share, and what the hand can do; read in one place. */

import type { AnyModel } from '@anywidget/types';
import type { Again, AtlasSpec, AtlasView, Claim, Column, Feature, Positions, Shapes, Task } from '../../lib/protocol';
import type { Bits, SelectionTraits } from '../../lib/selection';

export interface AtlasTraits extends SelectionTraits {
  spec: AtlasSpec;
  columns: Column[];
  view: AtlasView;
  positions: Positions | null;
  shapes: Shapes | null;
  claims: Claim[];
  looks: number;
  again: Again | null;
  playground: string;
  task: Task | null;
  problem: string;
}

export type AtlasModel = AnyModel<AtlasTraits>;

/** What any pane may do to all of them. */
export interface Hand {
  pick(bits: Bits): void;
  hover(row: number | null): void;
  /** Show the rows that a class runs through, or go back to the one that was picked. */
  preview(feature: Feature | null): void;
  view(change: Partial<AtlasView>): void;
}

/** Python says "nothing yet" with null or with an empty dictionary. */
export function filled<T extends object>(message: T | null | undefined, field: keyof T): T | null {
  return message !== null && message !== undefined && field in message ? message : null;
}

/** A number as it came over the wire, where what is not finite may have become text or null. */
export function numberOf(value: unknown): number {
  return typeof value === 'number' ? value : NaN;
}

/** Whether something is not what it was at the last look. */
export class Memo {
  private last: readonly unknown[] = [];

  changed(...inputs: readonly unknown[]): boolean {
    const other = inputs.length !== this.last.length || inputs.some((input, index) => input !== this.last[index]);
    this.last = inputs;
    return other;
  }
}
