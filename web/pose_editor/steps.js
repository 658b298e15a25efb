/** A row of buttons for what only some poses have: frames, several people, joints outside. */

/** @param actions functions by the names of the buttons, and `focus()`. */
export function makeSteps(actions) {
  const row = document.createElement('div')
  row.className = 'pcdm-tools pcdm-steps'
  row.hidden = true
  const buttons = {}
  const group = () => {
    const part = document.createElement('span')
    part.className = 'pcdm-step'
    row.append(part)
    return part
  }
  const add = (part, name, label, text, title = label) => {
    const button = document.createElement('button')
    button.type = 'button'
    button.title = title
    button.setAttribute('aria-label', label)
    button.append(text)
    button.addEventListener('click', () => actions[name]())
    part.append((buttons[name] = button))
    return button
  }
  const text = (part) => part.appendChild(document.createElement('span'))
  const [ofFrames, ofPeople, ofOutside] = [group(), group(), group()]
  add(ofFrames, 'previous', 'Previous frame', '◀', 'The frame before (Page up)')
  const frame = text(ofFrames)
  frame.setAttribute('role', 'status')
  add(ofFrames, 'next', 'Next frame', '▶', 'The next frame (Page down)')
  const person = text(ofPeople)
  add(ofPeople, 'person', 'Next person', 'Next', 'Take the next person; the others stay there')
  const outside = text(ofOutside)
  add(ofOutside, 'back', 'Bring back', 'Bring back', 'Move the joints outside to the border')
  row.addEventListener('mousedown', (event) => {
    if (!event.target.closest('button')) return
    event.preventDefault()
    actions.focus()
  })
  /** @param now `{ frame, frames, person, people, outside, locked }`, counted from 1. */
  const show = (now) => {
    ofFrames.hidden = now.frames < 2
    frame.textContent = `Frame ${now.frame} of ${now.frames}`
    ofPeople.hidden = now.people < 2
    person.textContent = `Person ${now.person || '?'} of ${now.people}`
    ofOutside.hidden = !now.outside
    const joints = now.outside === 1 ? 'joint' : 'joints'
    outside.textContent = `${now.outside} ${joints} outside: left out`
    buttons.person.disabled = buttons.back.disabled = now.locked
    row.hidden = [ofFrames, ofPeople, ofOutside].every((part) => part.hidden)
  }
  return { row, steps: { buttons, show } }
}
