import type { Command } from 'commander'
import { action, createCommand } from '../command.js'
import type { Run } from '../command.js'
import { exitCode } from '../exit.js'
import { readInput } from '../input.js'
import { readSigned } from './signed.js'
import { describeSet } from './summary.js'

/** `manifest show <file>`: what a signed set says. */
export function showCommand(run: Run): Command {
  return createCommand('show', 'Show what a signed pin set says. Its signatures are not verified; "manifest verify" does that.')
    .argument('<file>', 'the signed set, or - for standard input')
    .action(
      action(run, async (output, file: string) => {
        const { payload, signatures } = await readSigned((await readInput(file, run.terminal)).toString(), file)
        output.result({ payload, signatures: signatures.map(({ alg, kid }) => ({ alg, kid })), verified: false }, () => describeSet(payload, signatures, output.colors, Date.now()))
        if (!output.json) output.note('The signatures were not verified.')
        return exitCode.ok
      })
    )
}
