import { Command } from 'commander'
import { exitCode } from './exit.js'
import type { ExitCode } from './exit.js'
import { Output } from './output.js'
import type { Terminal } from './output.js'

/** One run of the program: the terminal, and the exit code it will end with. */
export interface Run {
  readonly terminal: Terminal
  exitCode: ExitCode
}

/** Makes one subcommand: a file of this folder exports it, program.ts lists it. */
export type CommandMaker = (run: Run) => Command

/** A subcommand with what all of them have: `--json`, and the exit codes in its help. */
export function createCommand(name: string, description: string): Command {
  return new Command(name).description(description).option('--json', 'print JSON, for programs').addHelpText('after', `\n${exitCodeHelp}`)
}

/**
 * Lets an action of commander's say how it went: it gets the {@link Output}, then what commander gives it (the arguments,
 * then the options), and returns the exit code. What it throws becomes one line, in program.ts.
 */
export function action<Arguments extends unknown[]>(run: Run, act: (output: Output, ...args: Arguments) => Promise<ExitCode> | ExitCode): (this: Command, ...args: Arguments) => Promise<void> {
  return async function (this: Command, ...args) {
    const { json = false } = this.optsWithGlobals<{ json?: boolean }>()
    run.exitCode = await act(new Output(run.terminal, json), ...args)
  }
}

export const exitCodeHelp = `Exit codes:
  ${exitCode.ok}   all is well
  ${exitCode.refused}   refused: a pin does not match, or a file does not hold what it should
  ${exitCode.expiring}   something expires soon, or there is no backup pin
  ${exitCode.unreachable}   a host could not be reached, or does not speak TLS
  ${exitCode.usage}  wrong usage, input that cannot be read, or output that cannot be written
  ${exitCode.internal}  a defect of this program`
