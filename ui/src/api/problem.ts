/** What went wrong with a request: a problem document (RFC 9457) or a server that could not be reached. */
export class ApiProblem extends Error {
  /** HTTP status; 0 where no answer came. */
  readonly status: number;
  /** Stable code of the problem document; `unreachable` where no answer came. */
  readonly code: string;
  /** What a person quotes to find the request again: the document's instance or the request's trace. */
  readonly id: string | null;

  constructor(status: number, code: string, message: string, id: string | null) {
    super(message);
    this.name = "ApiProblem";
    this.status = status;
    this.code = code;
    this.id = id;
  }
}

function text(value: unknown): string | null {
  return typeof value === "string" && value !== "" ? value : null;
}

/** Reads an error answer. A body that is no problem document (a proxy's page, say) still gives status and code. */
export function problemFrom(response: Response, body: unknown, trace: string | null): ApiProblem {
  const document = typeof body === "object" && body !== null ? (body as Record<string, unknown>) : {};
  const title = text(document["title"]) ?? `HTTP ${response.status}`;
  const detail = text(document["detail"]);
  return new ApiProblem(
    response.status,
    text(document["code"]) ?? `http_${response.status}`,
    detail === null ? title : `${title}: ${detail}`,
    text(document["instance"]) ?? trace,
  );
}
