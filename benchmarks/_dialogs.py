"""Two versions each of dialogs, with the truth of what became of every element, to grade locator healing by.

A line is an element: indentation, tag, `#id`, "label", `~key`. The same key in both versions is the same element for a
person who looks at both; an element whose key is in one version only was deleted or created. Keys are not shown to the
healer. Written for this purpose after the usual course of such changes: renamed, moved, reworded, wrapped into panels,
other toolkits' ids, fields added and removed, one control replaced by another.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

_LINE = re.compile(r'^(?P<indent> *)(?P<tag>[\w.-]+)(?: #(?P<id>\S+))?(?: "(?P<label>[^"]*)")?(?: ~(?P<key>\S+))?$')


@dataclass(frozen=True)
class Dialog:
    """One version: its source as a driver gives it, and the key of the element at each place of the document."""

    source: str
    keys: tuple[str, ...]


def _dialog(text: str) -> Dialog:
    out: list[str] = []
    keys: list[str] = []
    open_tags: list[tuple[int, str]] = []
    for order, line in enumerate(filter(str.strip, text.splitlines())):
        found = _LINE.match(line)
        if found is None:
            raise ValueError(f"not an element: {line!r}")
        indent = len(found["indent"])
        while open_tags and open_tags[-1][0] >= indent:
            out.append(f"</{open_tags.pop()[1]}>")
        place = f' x="{20 * len(open_tags)}" y="{30 * order}" width="160" height="24"'
        label = f" name={quoteattr(found['label'])}" if found["label"] else ""
        identity = f" id={quoteattr(found['id'])}" if found["id"] else ""
        out.append(f"<{found['tag']}{identity}{label}{place}>")
        open_tags.append((indent, found["tag"]))
        keys.append(found["key"] or "")
    out.extend(f"</{tag}>" for _, tag in reversed(open_tags))
    return Dialog("".join(out), tuple(keys))


_PAIRS = {
    "login, ids renamed": (
        """
Window "Sign in" ~w
 Label "User name" ~lu
 Edit #txtUser ~u
 Label "Password" ~lp
 Edit #txtPass ~p
 Button #btnLogin "Log in" ~ok
 Button #btnCancel "Cancel" ~no
""",
        """
Window "Sign in" ~w
 Label "User name" ~lu
 Edit #username ~u
 Label "Password" ~lp
 Edit #password ~p
 Button #submit "Log in" ~ok
 Button #cancel "Cancel" ~no
""",
    ),
    "login, labels reworded": (
        """
Window "Sign in" ~w
 Label "User name" ~lu
 Edit #user ~u
 Label "Password" ~lp
 Edit #pass ~p
 CheckBox #keep "Remember me" ~k
 Button #ok "Log in" ~ok
""",
        """
Window "Welcome" ~w
 Label "E-mail or user name" ~lu
 Edit #user ~u
 Label "Your password" ~lp
 Edit #pass ~p
 CheckBox #keep "Stay signed in" ~k
 Button #ok "Sign in" ~ok
""",
    ),
    "login, wrapped into panels": (
        """
Window "Sign in" ~w
 Label "User" ~lu
 Edit #user ~u
 Label "Password" ~lp
 Edit #pass ~p
 Button #ok "Log in" ~ok
 Button #no "Cancel" ~no
""",
        """
Window "Sign in" ~w
 Pane #form
  Label "User" ~lu
  Edit #user ~u
  Label "Password" ~lp
  Edit #pass ~p
 Pane #buttons
  Button #no "Cancel" ~no
  Button #ok "Log in" ~ok
""",
    ),
    "no ids at all, a row added on top": (
        """
Window "Address" ~w
 Label "Street" ~l1
 Edit ~street
 Label "Town" ~l2
 Edit ~town
 Label "Postcode" ~l3
 Edit ~code
 Button "Save" ~save
""",
        """
Window "Address" ~w
 Label "Company"
 Edit
 Label "Street" ~l1
 Edit ~street
 Label "Town" ~l2
 Edit ~town
 Label "Postcode" ~l3
 Edit ~code
 Button "Save" ~save
""",
    ),
    "no ids, rows in another order": (
        """
Window "Address" ~w
 Pane ~r1
  Label "Street" ~l1
  Edit ~street
 Pane ~r2
  Label "Town" ~l2
  Edit ~town
 Pane ~r3
  Label "Country" ~l3
  ComboBox ~country
 Button "Save" ~save
""",
        """
Window "Address" ~w
 Pane ~r3
  Label "Country" ~l3
  ComboBox ~country
 Pane ~r1
  Label "Street" ~l1
  Edit ~street
 Pane ~r2
  Label "Town" ~l2
  Edit ~town
 Button "Save" ~save
""",
    ),
    "a button replaced by another of another meaning": (
        """
Window "File" ~w
 Label "Delete report.txt?" ~q
 Button #yes "Delete" ~del
 Button #no "Keep" ~keep
""",
        """
Window "File" ~w
 Label "Delete report.txt?" ~q
 Button #archive "Archive"
 Button #no "Keep" ~keep
""",
    ),
    "settings, a check box becomes a switch": (
        """
Window "Settings" ~w
 CheckBox #wifi "Wi-Fi" ~wifi
 CheckBox #bt "Bluetooth" ~bt
 CheckBox #nfc "NFC" ~nfc
 Button #close "Close" ~close
""",
        """
Window "Settings" ~w
 Switch #wifi_toggle "Wi-Fi" ~wifi
 Switch #bluetooth_toggle "Bluetooth" ~bt
 Switch #nfc_toggle "NFC" ~nfc
 Button #done "Done" ~close
""",
    ),
    "Android, resource ids with another package": (
        """
android.widget.LinearLayout ~w
 android.widget.TextView #com.old:id/title "Call" ~t
 android.widget.EditText #com.old:id/number ~n
 android.widget.Button #com.old:id/dial "Dial" ~d
 android.widget.ImageButton #com.old:id/mute "Mute" ~m
""",
        """
android.widget.LinearLayout ~w
 android.widget.TextView #com.acme.call:id/title "Call" ~t
 android.widget.EditText #com.acme.call:id/number ~n
 android.widget.Button #com.acme.call:id/dial "Dial" ~d
 android.widget.ImageButton #com.acme.call:id/mute "Mute" ~m
 android.widget.ImageButton #com.acme.call:id/camera "Camera"
""",
    ),
    "call controls in another order, one gone": (
        """
Window "Call" ~w
 Button #mute "Mute" ~m
 Button #video "Stop video" ~v
 Button #share "Share screen" ~s
 Button #hang "Hang up" ~h
""",
        """
Window "Call" ~w
 Button #hangup "Leave" ~h
 Button #mute "Mute" ~m
 Button #video "Stop video" ~v
""",
    ),
    "toolbar of buttons without ids, one inserted": (
        """
Window "Editor" ~w
 ToolBar ~tb
  Button "New" ~new
  Button "Open" ~open
  Button "Save" ~save
  Button "Print" ~print
""",
        """
Window "Editor" ~w
 ToolBar ~tb
  Button "New" ~new
  Button "Open…" ~open
  Button "Open recent"
  Button "Save" ~save
  Button "Print…" ~print
""",
    ),
    "translated, ids kept": (
        """
Window #main "Order" ~w
 Label #l1 "Quantity" ~l1
 Edit #qty ~q
 Label #l2 "Price" ~l2
 Edit #price ~p
 Button #buy "Buy" ~b
""",
        """
Window #main "Bestellung" ~w
 Label #l1 "Menge" ~l1
 Edit #qty ~q
 Label #l2 "Preis" ~l2
 Edit #price ~p
 Button #buy "Kaufen" ~b
""",
    ),
    "translated, no ids": (
        """
Window "Order" ~w
 Label "Quantity" ~l1
 Edit ~q
 ComboBox ~size
 Button "Buy" ~b
""",
        """
Window "Bestellung" ~w
 Label "Menge" ~l1
 Edit ~q
 ComboBox ~size
 Button "Kaufen" ~b
""",
    ),
    "ids made by a machine": (
        """
div ~w
 label "Name" ~l1
 input #:r1: ~name
 label "Mail" ~l2
 input #:r2: ~mail
 button #ember120 "Send" ~send
""",
        """
div ~w
 label "Name" ~l1
 input #:r2: ~name
 label "Phone"
 input #:r3:
 label "Mail" ~l2
 input #:r4: ~mail
 button #ember377 "Send" ~send
""",
    ),
    "two forms alike": (
        """
Window "Transfer" ~w
 Group "From" ~g1
  Label "Account" ~l1
  Edit ~a1
  Label "Name" ~n1
  Edit ~e1
 Group "To" ~g2
  Label "Account" ~l2
  Edit ~a2
  Label "Name" ~n2
  Edit ~e2
 Button "Send" ~send
""",
        """
Window "Transfer" ~w
 Group "To" ~g2
  Label "Account" ~l2
  Edit ~a2
  Label "Name" ~n2
  Edit ~e2
 Group "From" ~g1
  Label "Account" ~l1
  Edit ~a1
  Label "Name" ~n1
  Edit ~e1
 Button "Send money" ~send
""",
    ),
    "ok and cancel swapped and reworded": (
        """
Window "Discard changes?" ~w
 Label "The file was changed." ~t
 Button #b1 "Yes" ~yes
 Button #b2 "No" ~no
 Button #b3 "Cancel" ~c
""",
        """
Window "Discard changes?" ~w
 Label "The file was changed." ~t
 Button #b3 "Cancel" ~c
 Button #b2 "No, keep them" ~no
 Button #b1 "Yes, discard" ~yes
""",
    ),
    "wizard step with a page added": (
        """
Window "Setup" ~w
 List #steps ~steps
  ListItem "Licence" ~s1
  ListItem "Folder" ~s2
  ListItem "Ready" ~s3
 Button #back "Back" ~back
 Button #next "Next" ~next
""",
        """
Window "Setup" ~w
 List #steps ~steps
  ListItem "Licence" ~s1
  ListItem "Folder" ~s2
  ListItem "Components"
  ListItem "Ready" ~s3
 Button #prev "Back" ~back
 Button #forward "Next" ~next
 Button #cancel "Cancel"
""",
    ),
    "search bar into a header": (
        """
Window "Shop" ~w
 Edit #search "Search" ~s
 Button #go "Go" ~go
 List #results ~r
""",
        """
Window "Shop" ~w
 Pane #header
  Image "Logo"
  Pane
   Edit #q "Search products" ~s
   Button #go "Go" ~go
 Pane #content
  List #results ~r
""",
    ),
    "a field deleted, its like kept": (
        """
Window "Contact" ~w
 Label "Phone" ~l1
 Edit #phone ~phone
 Label "Fax" ~l2
 Edit #fax ~fax
 Button #save "Save" ~save
""",
        """
Window "Contact" ~w
 Label "Phone" ~l1
 Edit #phone ~phone
 Button #save "Save" ~save
""",
    ),
    "camel case to kebab case": (
        """
div ~w
 input #firstName ~f
 input #lastName ~l
 select #countryCode ~c
 button #saveAndClose "Save" ~s
""",
        """
div ~w
 input #first-name ~f
 input #middle-name
 input #last-name ~l
 select #country-code ~c
 button #save-and-close "Save & close" ~s
""",
    ),
    "table cells renumbered": (
        """
Table #rows ~t
 Row ~r1
  Cell "Alice" ~a
  Button "Edit" ~ea
 Row ~r2
  Cell "Bob" ~b
  Button "Edit" ~eb
 Row ~r3
  Cell "Carol" ~c
  Button "Edit" ~ec
""",
        """
Table #rows ~t
 Row ~r2
  Cell "Bob" ~b
  Button "Edit" ~eb
 Row ~r3
  Cell "Carol" ~c
  Button "Edit" ~ec
 Row
  Cell "Dave"
  Button "Edit"
""",
    ),
    "menu entries moved to another menu": (
        """
MenuBar ~mb
 Menu "File" ~f
  MenuItem "Open" ~o
  MenuItem "Preferences" ~p
  MenuItem "Quit" ~q
 Menu "Edit" ~e
  MenuItem "Copy" ~c
  MenuItem "Paste" ~v
""",
        """
MenuBar ~mb
 Menu "File" ~f
  MenuItem "Open" ~o
  MenuItem "Quit" ~q
 Menu "Edit" ~e
  MenuItem "Copy" ~c
  MenuItem "Paste" ~v
  MenuItem "Preferences…" ~p
""",
    ),
    "robot panel, everything changes a little": (
        """
Window "Robot" ~w
 Label #lblBattery "Battery" ~lb
 Text #batteryValue ~bv
 Button #driveForward "Forward" ~fw
 Button #driveBack "Back" ~bk
 Button #stop "Stop" ~st
 Button #dock "Dock" ~dk
""",
        """
Window "Robot control" ~w
 Pane #status
  Label #label_battery "Battery level" ~lb
  Text #battery_value ~bv
 Pane #drive
  Button #drive_forward "Forward" ~fw
  Button #drive_backward "Backward" ~bk
  Button #stop_robot "STOP" ~st
  Button #go_to_dock "Go to dock" ~dk
""",
    ),
    "another dialog altogether": (
        """
Window "Print" ~w
 ComboBox #printer "Printer" ~a
 Edit #copies "Copies" ~b
 Button #print "Print" ~c
""",
        """
Window "Login" ~w
 Edit #user "User"
 Edit #password "Password"
 Button #submit "Log in"
""",
    ),
    "icons without words, found by their neighbours": (
        """
Window "Player" ~w
 Label "Volume" ~l
 Slider ~s
 Button ~mute
 Label "Speed" ~l2
 ComboBox ~speed
""",
        """
Window "Player" ~w
 Pane
  Label "Volume" ~l
  Slider ~s
  Button ~mute
 Pane
  Label "Playback speed" ~l2
  ComboBox ~speed
""",
    ),
}
# Written after the heuristics were settled, and never used to settle anything.
_UNSEEN_PAIRS = {
    "phone book entry, regrouped and reworded": (
        """
Window "New contact" ~w
 Image #photo ~ph
 Edit #given "Given name" ~g
 Edit #family "Family name" ~f
 Edit #mobile "Mobile" ~m
 CheckBox #fav "Favourite" ~fav
 Button #store "Store" ~s
""",
        """
Window "Create contact" ~w
 Group "Person"
  Edit #contact_given "First name" ~g
  Edit #contact_family "Last name" ~f
 Group "Reach"
  Edit #contact_mobile "Mobile number" ~m
  Edit #contact_mail "Mail"
 Switch #contact_fav "Favourite" ~fav
 Button #contact_store "Save" ~s
""",
    ),
    "conference lobby": (
        """
div ~w
 video #preview ~v
 button #micBtn "Mute" ~m
 button #camBtn "Camera off" ~c
 input #display "Your name" ~n
 button #joinBtn "Join" ~j
""",
        """
div ~w
 div
  video #preview-video ~v
 div
  button #toggle-mic "Mute microphone" ~m
  button #toggle-cam "Turn camera off" ~c
  button #settings "Settings"
 input #display-name "Your name" ~n
 button #join "Join now" ~j
""",
    ),
    "list of devices, one gone and one new, no ids": (
        """
List ~l
 Row ~r1
  Cell "pixel-7" ~a
  Button "Lease" ~ba
 Row ~r2
  Cell "galaxy-s22" ~b
  Button "Lease" ~bb
 Row ~r3
  Cell "iphone-14" ~c
  Button "Lease" ~bc
""",
        """
List ~l
 Row ~r1
  Cell "pixel-7" ~a
  Button "Lease" ~ba
 Row
  Cell "nuc-4"
  Button "Lease"
 Row ~r3
  Cell "iphone-14" ~c
  Button "Lease" ~bc
""",
    ),
    "alarm clock without ids, a column of switches": (
        """
Pane ~w
 Label "07:00" ~t1
 CheckBox ~c1
 Label "08:30" ~t2
 CheckBox ~c2
 Button "Add" ~add
""",
        """
Pane ~w
 Label "06:15"
 CheckBox
 Label "07:00" ~t1
 CheckBox ~c1
 Label "08:30" ~t2
 CheckBox ~c2
 Button "Add alarm" ~add
""",
    ),
    "editor, a toolbar turned into a menu": (
        """
Window "Notes" ~w
 ToolBar ~tb
  Button #bold "Bold" ~b
  Button #italic "Italic" ~i
  Button #print "Print" ~p
 Edit #body ~body
""",
        """
Window "Notes" ~w
 Menu "Format"
  MenuItem #bold "Bold" ~b
  MenuItem #italic "Italic" ~i
 Edit #document ~body
""",
    ),
    "payment, card fields split": (
        """
form ~w
 label "Card number" ~l1
 input #card ~card
 label "Valid until" ~l2
 input #valid ~valid
 button #pay "Pay" ~pay
""",
        """
form ~w
 label "Card number" ~l1
 input #card-number ~card
 label "Month"
 input #month
 label "Year"
 input #year
 label "Security code"
 input #cvc
 button #pay-now "Pay now" ~pay
""",
    ),
    "robot pad, arrows renamed to words": (
        """
Pane #pad ~w
 Button #up "▲" ~u
 Button #left "◀" ~l
 Button #right "▶" ~r
 Button #down "▼" ~d
 Button #estop "Emergency stop" ~e
""",
        """
Pane #pad ~w
 Button #up "Forward" ~u
 Button #left "Left" ~l
 Button #right "Right" ~r
 Button #down "Back" ~d
 Button #emergency "Emergency stop!" ~e
""",
    ),
    "two dialogs with the same button, another question": (
        """
Window "Quit" ~w
 Label "Quit the program?" ~q
 Button "Yes" ~y
 Button "No" ~n
""",
        """
Window "Update" ~w
 Label "Install the new release?"
 Button "Install"
 Button "Later"
""",
    ),
}


def _dialogs(pairs: dict[str, tuple[str, str]]) -> dict[str, tuple[Dialog, Dialog]]:
    return {name: (_dialog(old), _dialog(new)) for name, (old, new) in pairs.items()}


DIALOGS = _dialogs(_PAIRS)
UNSEEN = _dialogs(_UNSEEN_PAIRS)
