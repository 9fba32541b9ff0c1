/** The lines of the table and the words of a tooltip: asked from Python, or made from what is stored. */

import type { Asking } from '../../lib/asking';
import type { Column, RowsReply } from '../../lib/protocol';
import { bytesOf, fromRows, has, type Bits } from '../../lib/selection';
import { codesOf, named, numbersOf, textOf } from './columns';

export interface Query {
  sort: string;
  descending: boolean;
  picked_only: boolean;
  search: string;
  start: number;
  stop: number;
}

export type Lines = Pick<RowsReply, 'columns' | 'facts' | 'total'>;

export interface Rows {
  /** Some lines of the table in some order. */
  table(query: Query): Promise<Lines>;
  /** What these rows are, in words. */
  facts(rows: readonly number[]): Promise<Lines>;
  /** The rows in which a text occurs. */
  search(text: string): Promise<Bits>;
}

/** Rows as Python knows them. */
export class AskedRows implements Rows {
  constructor(private readonly asking: Asking) {}

  table(query: Query): Promise<Lines> {
    return this.asking.ask<RowsReply>('table', query);
  }

  facts(rows: readonly number[]): Promise<Lines> {
    return this.asking.ask<RowsReply>('rows', { rows });
  }

  async search(text: string): Promise<Bits> {
    const { buffers } = await this.asking.ask<{ count: number }>('search', { text });
    return bytesOf(buffers[0]);
  }
}

/** Rows as far as the stored columns know them: there is no Python to ask. */
export class StoredRows implements Rows {
  constructor(
    private readonly n: number,
    private readonly columns: () => readonly Column[],
    private readonly picked: () => Bits
  ) {}

  table(query: Query): Promise<Lines> {
    const found = query.search === '' ? null : this.found(query.search);
    const picked = query.picked_only ? this.picked() : null;
    let order = new Uint32Array(this.n).map((_, row) => row);
    if (found !== null || picked !== null) {
      order = order.filter(row => (found === null || has(found, row)) && (picked === null || has(picked, row)));
    }
    const column = named(this.columns(), query.sort);
    if (column !== null) {
      const values = column.kind === 'number' ? numbersOf(column) : codesOf(column);
      const sign = query.descending ? -1 : 1;
      const missing = (value: number): boolean =>
        Number.isNaN(value) || (column.kind === 'label' && value >= column.levels.length);
      order.sort((a, b) => {
        const [x, y] = [values[a] ?? NaN, values[b] ?? NaN];
        // what is missing comes last in both directions
        return Number(missing(x)) - Number(missing(y)) || (missing(x) ? 0 : sign * (x - y)) || a - b;
      });
    } else if (query.descending) {
      order.reverse();
    }
    return Promise.resolve({ ...this.lines(order.slice(query.start, query.stop)), total: order.length });
  }

  facts(rows: readonly number[]): Promise<Lines> {
    return Promise.resolve(this.lines(rows));
  }

  search(text: string): Promise<Bits> {
    return Promise.resolve(this.found(text));
  }

  private lines(rows: ArrayLike<number>): Lines {
    const columns = this.columns();
    const facts = Array.from(rows, row => ({ row, cells: columns.map(column => textOf(column, row)) }));
    return { columns: columns.map(column => column.name), facts, total: facts.length };
  }

  private found(text: string): Bits {
    const wanted = text.toLowerCase();
    const rows = new Set<number>();
    for (const column of this.columns()) {
      if (column.kind === 'label') {
        const matching = column.levels.map(level => level.toLowerCase().includes(wanted));
        codesOf(column).forEach((code, row) => {
          if (matching[code] === true) {
            rows.add(row);
          }
        });
      }
    }
    return fromRows(rows);
  }
}
