// The admin panel: each tab is a page of its own; what a tab has is found by its elements.
import { enableActions } from "../admin/actions";
import { enableAnnouncementForm, enableCatalogue } from "../admin/datalab";
import { enableList } from "../admin/list";
import { enableQuotas } from "../admin/quotas";
import { showFlash } from "../lib/flash";

showFlash();
enableList();
enableActions();
enableQuotas();
enableAnnouncementForm();
enableCatalogue();
