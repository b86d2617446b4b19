import { defaultRangeExtractor, useVirtualizer } from "@tanstack/react-virtual";
import {
  type CSSProperties,
  type KeyboardEvent,
  type ReactNode,
  useEffect,
  useLayoutEffect,
  useMemo,
  useRef,
  useState,
} from "react";

export interface Column<T> {
  readonly id: string;
  readonly header: string;
  /** A track of grid-template-columns. */
  readonly width: string;
  readonly end?: boolean;
  readonly cell: (row: T) => ReactNode;
}

export interface GridProps<T> {
  readonly label: string;
  readonly columns: readonly Column<T>[];
  readonly rows: readonly T[];
  readonly rowKey: (row: T) => string;
  readonly rowWeight?: (row: T) => string | undefined;
  readonly onOpen: (row: T) => void;
  /** Width below which the grid scrolls sideways, in rem. */
  readonly minWidth: number;
  /** True while the server has more rows than are here. */
  readonly hasMore: boolean;
  readonly loadMore: () => void;
}

/** Height of a row in CSS pixels; tokens.css holds the same. */
const ROW_PX = 36;
/** Height of the head that stays on top while the rows scroll under it; grid.css holds the same. */
const HEAD_PX = 31;
/** Rows before the end at which the next page is asked for. */
const AHEAD_ROWS = 40;

const MOVES: Readonly<Record<string, (at: number, page: number, last: number) => number>> = {
  ArrowDown: (at) => at + 1,
  ArrowUp: (at) => at - 1,
  PageDown: (at, page) => at + page,
  PageUp: (at, page) => at - page,
  Home: () => 0,
  End: (_at, _page, last) => last,
};

/**
 * A grid of any length: only the visible rows are in the document, and the focused one, so that the focus
 * survives scrolling. One tab stop; arrows move, Enter opens.
 */
export function VirtualGrid<T>(props: GridProps<T>) {
  const { rows, rowKey, columns, hasMore, loadMore } = props;
  const scroller = useRef<HTMLDivElement>(null);
  const body = useRef<HTMLDivElement>(null);
  /** Index of the row that a key went to and that has not got the focus yet. */
  const goTo = useRef<number | null>(null);
  const [focusedKey, setFocusedKey] = useState<string | null>(null);
  const focused = useMemo(() => {
    const found = focusedKey === null ? 0 : rows.findIndex((row) => rowKey(row) === focusedKey);
    return Math.max(0, found);
  }, [rows, rowKey, focusedKey]);

  const virtualizer = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW_PX,
    overscan: 8,
    scrollMargin: HEAD_PX,
    scrollPaddingStart: HEAD_PX,
    rangeExtractor: (range) => {
      const visible = defaultRangeExtractor(range);
      if (rows.length === 0 || visible.includes(focused)) return visible;
      return focused < (visible[0] ?? 0) ? [focused, ...visible] : [...visible, focused];
    },
  });
  const items = virtualizer.getVirtualItems();
  const lastVisible = virtualizer.range?.endIndex ?? 0;

  useEffect(() => {
    if (hasMore && lastVisible >= rows.length - AHEAD_ROWS) loadMore();
  }, [hasMore, lastVisible, rows.length, loadMore]);

  // In the same commit that takes the row away which had the focus: one later, and the focus would be nowhere.
  useLayoutEffect(() => {
    if (goTo.current !== focused) return;
    const row = body.current?.querySelector<HTMLElement>(`[data-index="${focused}"]`);
    if (row == null) return;
    goTo.current = null;
    row.focus({ preventScroll: true });
  });

  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const row = rows[focused];
    if (
      event.key === "Enter" &&
      row !== undefined &&
      event.target === event.currentTarget.querySelector(":focus")
    ) {
      event.preventDefault();
      props.onOpen(row);
      return;
    }
    const move = MOVES[event.key];
    if (move === undefined || rows.length === 0) return;
    event.preventDefault();
    const page = Math.max(1, Math.floor((scroller.current?.clientHeight ?? 0) / ROW_PX) - 2);
    const next = Math.min(rows.length - 1, Math.max(0, move(focused, page, rows.length - 1)));
    const target = rows[next];
    if (target === undefined) return;
    goTo.current = next;
    setFocusedKey(rowKey(target));
    virtualizer.scrollToIndex(next);
  };

  const tracks = {
    "--tracks": columns.map((column) => column.width).join(" "),
    "--grid-min": `${props.minWidth}rem`,
  } as CSSProperties;
  return (
    <div
      className="grid"
      role="grid"
      aria-label={props.label}
      aria-rowcount={hasMore ? -1 : rows.length + 1}
      aria-colcount={columns.length}
      style={tracks}
      tabIndex={-1}
    >
      <div className="grid-scroll" ref={scroller}>
        <div className="grid-head" role="rowgroup">
          <div className="grid-row" role="row" tabIndex={-1} aria-rowindex={1}>
            {columns.map((column) => (
              <div
                key={column.id}
                role="columnheader"
                tabIndex={-1}
                className="grid-cell"
                data-end={column.end}
              >
                {column.header}
              </div>
            ))}
          </div>
        </div>
        <div
          className="grid-body"
          role="rowgroup"
          ref={body}
          onKeyDown={onKeyDown}
          style={{ height: virtualizer.getTotalSize() }}
        >
          {items.map((item) => {
            const row = rows[item.index];
            if (row === undefined) return null;
            return (
              <GridRow
                key={rowKey(row)}
                row={row}
                index={item.index}
                start={item.start - HEAD_PX}
                columns={columns}
                weight={props.rowWeight?.(row)}
                tabStop={item.index === focused}
                onFocus={() => setFocusedKey(rowKey(row))}
                onOpen={() => props.onOpen(row)}
              />
            );
          })}
        </div>
      </div>
    </div>
  );
}

interface RowProps<T> {
  readonly row: T;
  readonly index: number;
  readonly start: number;
  readonly columns: readonly Column<T>[];
  readonly weight: string | undefined;
  readonly tabStop: boolean;
  readonly onFocus: () => void;
  readonly onOpen: () => void;
}

function GridRow<T>({ row, index, start, columns, weight, tabStop, onFocus, onOpen }: RowProps<T>) {
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: the grid's body handles the keys of all rows.
    <div
      className="grid-row"
      role="row"
      aria-rowindex={index + 2}
      data-index={index}
      data-weight={weight}
      tabIndex={tabStop ? 0 : -1}
      style={{ transform: `translateY(${start}px)` }}
      onFocus={onFocus}
      onClick={(event) => {
        // A link inside handles its own click, also with Ctrl for a new tab; marked text is no click.
        if ((event.target as HTMLElement).closest("a") !== null || window.getSelection()?.toString()) return;
        onOpen();
      }}
    >
      {columns.map((column) => (
        <div key={column.id} role="gridcell" className="grid-cell" data-end={column.end} tabIndex={-1}>
          {column.cell(row)}
        </div>
      ))}
    </div>
  );
}
