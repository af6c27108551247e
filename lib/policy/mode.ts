import { PolicyInvalidError } from '../errors.js'
import { describeError, describeType, quoteInput } from '../pin/pin.js'
import { readVariable } from './environment.js'
import { ignoreRejection } from './late-answer.js'
import { readBoolean, readChoice } from './options.js'
import { modes } from './policy.js'
import type { PinningMode } from './policy.js'

/** Says the mode whenever it is asked, which is several times per request: it must be quick, and must not wait. */
export type ModeFunction = () => PinningMode

/** The part of the options that decides the overall mode. */
export interface ModeOptions {
  /** The overall mode, or a function that says it now. Default `'enforce'`, unless `AXIOS_SSL_PINNING_MODE` says otherwise. */
  mode?: PinningMode | ModeFunction
  /** Lets `AXIOS_SSL_PINNING_MODE` lower the mode although `NODE_ENV` is `production`. Default `false`. */
  dangerAllowModeFromEnvironment?: boolean
}

/** Who has decided the mode. */
export type ModeSource = 'default' | 'option' | 'function' | 'environment'

/** The overall mode now, and who has decided it. */
export interface DecidedMode {
  readonly mode: PinningMode
  readonly source: ModeSource
}

/**
 * Who may say the mode: the code (an option or a function) and the environment. **The stricter of the two holds**; where
 * the code says nothing, the environment decides. So the environment can always raise the mode to `enforce`, and never
 * lowers one that the code has given. The environment is read once.
 */
export class ModeRule {
  readonly #ask: ModeFunction | undefined
  readonly #given: PinningMode | undefined
  readonly #environment: PinningMode | undefined
  readonly #onFailure: (text: string) => void
  #last: DecidedMode
  #asking = false
  #failing = false

  /**
   * @param onFailure called when the function begins to fail later on; `enforce` holds while it does
   * @throws {PolicyInvalidError} for a value, also a function's first one, that is no mode; and for a lower mode from the
   *   environment in production
   */
  constructor(options: ModeOptions, env: NodeJS.ProcessEnv, onFailure: (text: string) => void) {
    const { mode } = options
    this.#ask = typeof mode === 'function' ? mode : undefined
    this.#given = this.#ask ? undefined : readChoice(mode as PinningMode | undefined, modes, undefined, 'mode')
    this.#environment = readEnvironment(env, readBoolean(options.dangerAllowModeFromEnvironment, false, 'dangerAllowModeFromEnvironment'))
    this.#onFailure = onFailure
    this.#last = this.#decide(this.#ask ? readAnswer(this.#ask()) : this.#given)
  }

  get now(): DecidedMode {
    // A function that makes a pinned request itself would never end.
    if (this.#ask === undefined || this.#asking) return this.#last
    this.#asking = true
    try {
      const mode = readAnswer(this.#ask())
      this.#failing = false
      if (mode !== this.#last.mode) this.#last = this.#decide(mode)
    } catch (error) {
      this.#last = { mode: 'enforce', source: 'function' }
      if (this.#failing) return this.#last
      this.#failing = true
      this.#onFailure(`the mode function failed, so the mode is 'enforce': ${describeError(error)}`)
    } finally {
      this.#asking = false
    }
    return this.#last
  }

  #decide(code: PinningMode | undefined): DecidedMode {
    const environment = this.#environment
    if (environment !== undefined && (code === undefined || strictness(environment) > strictness(code))) return { mode: environment, source: 'environment' }
    if (code === undefined) return { mode: 'enforce', source: 'default' }
    return { mode: code, source: this.#ask ? 'function' : 'option' }
  }
}

/** What is said of a mode that does not enforce, to people; `undefined` for `enforce`. */
export function describeMode({ mode, source }: DecidedMode): string | undefined {
  if (mode === 'enforce') return undefined
  const who = { default: '', option: '', function: ' (says the mode function)', environment: ` (says ${variable})` }[source]
  return `mode is '${mode}'${who}: peers that do not match the pins are not refused`
}

const variable = 'AXIOS_SSL_PINNING_MODE'

function readEnvironment(env: NodeJS.ProcessEnv, allowed: boolean): PinningMode | undefined {
  const mode = readChoice(readVariable(variable, env) || undefined, modes, undefined, variable)
  if (mode === undefined || mode === 'enforce' || allowed) return mode
  if (readVariable('NODE_ENV', env)?.trim().toLowerCase() !== 'production') return mode
  throw new PolicyInvalidError(variable, `'${mode}' from the environment is refused, since NODE_ENV is production; right would be to unset it, or to set dangerAllowModeFromEnvironment: true in the code`)
}

function readAnswer(answer: unknown): PinningMode {
  if ((modes as readonly unknown[]).includes(answer)) return answer as PinningMode
  ignoreRejection(answer)
  const shown = typeof answer === 'string' ? quoteInput(answer) : describeType(answer)
  throw new PolicyInvalidError('mode', `the function returned ${shown}; right would be ${modes.map((each) => `'${each}'`).join(' or ')}, at once`)
}

/** `modes` begins with the strictest. */
function strictness(mode: PinningMode): number {
  return -modes.indexOf(mode)
}
